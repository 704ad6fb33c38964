"""LLaVA-HR's vision tower: CLIP on a small picture, ConvNeXt on a large one, the second mixed into the first.

Written from the paper (arXiv 2403.03003, section 3) and held against the outputs of the authors' own
`MultiPathCLIPVisionTower` (github.com/luogen1996/LLaVA-HR, Apache-2.0). The layers themselves are transformers'.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.models.convnext.modeling_convnext import (
    ConvNextEmbeddings,
    ConvNextLayer,
    ConvNextLayerNorm,
    ConvNextStage,
)

from fitprune_core.models.llava_hr.configuration import LlavaHrVisionConfig


class PatchEmbeddings(nn.Module):
    """CLIP's patch embedding with its positions resampled to the grid, without a class token."""

    def __init__(self, config: LlavaHrVisionConfig) -> None:
        super().__init__()
        clip = config.clip_config
        self.grid = config.grid
        self.side = config.grid * clip.patch_size
        self.trained_grid = clip.image_size // clip.patch_size
        self.patch_embedding = nn.Conv2d(
            clip.num_channels, clip.hidden_size, kernel_size=clip.patch_size, stride=clip.patch_size, bias=False
        )
        # Row 0 is that of the class token, which never enters the tower; the other rows are CLIP's patches.
        self.position_embedding = nn.Embedding(self.trained_grid**2 + 1, clip.hidden_size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(batch, 3, height, width) to (batch, grid * grid, width of CLIP)."""
        dtype = self.patch_embedding.weight.dtype
        pixels = F.interpolate(
            pixel_values.float(), size=(self.side, self.side), mode="bilinear", align_corners=True
        ).to(dtype)
        return self.patch_embedding(pixels).flatten(2).transpose(1, 2) + self.positions()

    def positions(self) -> Tensor:
        """(grid * grid, width). Antialiased, unlike CLIP's in transformers, which are off by half their size."""
        trained = self.position_embedding.weight[1:]
        if self.grid == self.trained_grid:
            return trained
        plane = trained.float().T.unflatten(1, (self.trained_grid, self.trained_grid))[None]
        resampled = F.interpolate(plane, size=(self.grid, self.grid), mode="bicubic", antialias=True)
        return resampled[0].flatten(1).T.to(trained.dtype)


class Adapter(nn.Module):
    """Mixes the slow path into the tokens of the fast one, as much as a gate says (the paper's MR-Adapter)."""

    def __init__(self, config: LlavaHrVisionConfig) -> None:
        super().__init__()
        fast, slow = config.hidden_size, config.convnext_config.hidden_sizes[-1]
        self.slow_conv = nn.Conv2d(slow, slow, kernel_size=1)
        self.slow_proj = nn.Conv2d(slow, fast, kernel_size=1)
        self.fast_conv = nn.Conv2d(fast, fast, kernel_size=7, padding=3, groups=fast)
        self.fast_proj = nn.Conv2d(fast, fast, kernel_size=1)
        self.gate = nn.Sequential(nn.Linear(2 * fast, fast // 2), nn.GELU(), nn.Linear(fast // 2, 1))
        self.grid = config.grid

    def forward(self, tokens: Tensor, slow_map: Tensor) -> Tensor:
        """tokens: (batch, grid * grid, width of CLIP); slow_map: (batch, channels, rows, columns). Returns tokens."""
        slow = _as_tokens(_to_grid(self.slow_proj(F.gelu(self.slow_conv(slow_map))), self.grid))
        plane = tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        fast = _as_tokens(plane + self.fast_proj(F.gelu(self.fast_conv(plane))))
        gate = self.gate(torch.cat([fast, slow], dim=-1).mean(dim=1, keepdim=True))
        return fast + slow * gate.tanh()


class Fusion(nn.Module):
    """The sum of both paths, each through a projection of its own, after the last layer."""

    def __init__(self, config: LlavaHrVisionConfig) -> None:
        super().__init__()
        self.fast_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.slow_proj = nn.Linear(config.convnext_config.hidden_sizes[-1], config.hidden_size)
        self.grid = config.grid

    def forward(self, tokens: Tensor, slow_map: Tensor) -> Tensor:
        """Shapes as for `Adapter.forward`."""
        return self.fast_proj(tokens) + self.slow_proj(_as_tokens(_to_grid(slow_map, self.grid)))


class LlavaHrVisionModel(PreTrainedModel):
    """The tower, for `LlavaForConditionalGeneration` with `vision_feature_layer=-1` and strategy "full"."""

    config_class = LlavaHrVisionConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["CLIPEncoderLayer", "ConvNextLayer", "Adapter"]

    def __init__(self, config: LlavaHrVisionConfig) -> None:
        super().__init__(config)
        clip, convnext = config.clip_config, config.convnext_config
        clip._attn_implementation = config._attn_implementation  # CLIP's layers look it up in their own configuration
        self.embeddings = PatchEmbeddings(config)
        self.pre_layernorm = nn.LayerNorm(clip.hidden_size, eps=clip.layer_norm_eps)
        self.layers = nn.ModuleList(CLIPEncoderLayer(clip) for _ in range(clip.num_hidden_layers))
        self.slow_embeddings = ConvNextEmbeddings(convnext)
        widths = convnext.hidden_sizes
        self.slow_stages = nn.ModuleList(
            ConvNextStage(convnext, widths[max(i - 1, 0)], widths[i], stride=2 if i else 1, depth=convnext.depths[i])
            for i in range(convnext.num_stages)
        )
        self.adapters = nn.ModuleList(Adapter(config) for _ in range(3 if config.use_adapters else 0))
        self.fusion = Fusion(config)
        for module in self.modules():
            if isinstance(module, ConvNextLayerNorm):
                module.eps = convnext.layer_norm_eps  # transformers writes 1e-6 for every ConvNeXt
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ConvNextLayer):
            init.constant_(module.layer_scale_parameter, self.config.convnext_config.layer_scale_init_value)

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """pixel_values: (batch, 3, image_size, image_size), normalised as CLIP's.

        `last_hidden_state`, and the only one of `hidden_states`, is (batch, grid * grid, hidden_size), line by line.
        What LLaVA asks other towers for besides (`kwargs`) makes no difference. Raises ValueError for another size.
        """
        side = self.config.image_size
        if tuple(pixel_values.shape[-2:]) != (side, side):
            raise ValueError(f"pixel_values have shape {tuple(pixel_values.shape)}; this tower takes {side} x {side}")
        slow_map = self.slow_embeddings(pixel_values.to(self.dtype))
        for stage in self.slow_stages:
            slow_map = stage(slow_map)
        tokens = self.pre_layernorm(self.embeddings(pixel_values))
        group = len(self.layers) // 4
        for index, layer in enumerate(self.layers, start=1):
            tokens = layer(tokens, None)
            if index % group == 0 and index // group <= len(self.adapters):
                tokens = self.adapters[index // group - 1](tokens, slow_map)
        tokens = self.fusion(tokens, slow_map)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))


def _to_grid(plane: Tensor, grid: int) -> Tensor:
    """(batch, channels, rows, columns) to (batch, channels, grid, grid). The slow grid is never the finer one."""
    if plane.shape[-1] == grid:
        return plane
    resized = F.interpolate(plane.float(), size=(grid, grid), mode="bilinear", align_corners=True)
    return resized.to(plane.dtype)


def _as_tokens(plane: Tensor) -> Tensor:
    """(batch, channels, rows, columns) to (batch, rows * columns, channels)."""
    return plane.flatten(2).transpose(1, 2)
