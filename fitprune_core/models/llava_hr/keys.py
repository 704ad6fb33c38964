"""Names of weights: those of a checkpoint of LLaVA-HR's authors, and what they are called here."""

from __future__ import annotations

import re

from fitprune_core.checks.words import shown

_TOWER = r"model\.vision_tower\."
_FAST = _TOWER + r"fast_vision_tower\.vision_tower\.vision_model\."
_SLOW = _TOWER + r"slow_vision_tower\.vision_tower\."
_HERE = "model.vision_tower."
_STAGE = _HERE + r"slow_stages.\1."
_BLOCK = _STAGE + r"layers.\2."

# Patterns of whole names. Names that come out of them and are not in the model are refused like those without a rule.
RENAMED = (
    (r"lm_head\.weight", "lm_head.weight"),
    (r"model\.((?:embed_tokens|norm|layers\.\d+)\..+)", r"model.language_model.\1"),
    (r"model\.mm_projector\.0\.(.+)", r"model.multi_modal_projector.linear_1.\1"),
    (r"model\.mm_projector\.2\.(.+)", r"model.multi_modal_projector.linear_2.\1"),
    (_FAST + r"embeddings\.(patch_embedding|position_embedding)\.weight", _HERE + r"embeddings.\1.weight"),
    (_FAST + r"pre_layrnorm\.(.+)", _HERE + r"pre_layernorm.\1"),
    (_FAST + r"encoder\.layers\.(.+)", _HERE + r"layers.\1"),
    (_SLOW + r"stem\.0\.(.+)", _HERE + r"slow_embeddings.patch_embeddings.\1"),
    (_SLOW + r"stem\.1\.(.+)", _HERE + r"slow_embeddings.layernorm.\1"),
    (_SLOW + r"stages\.(\d+)\.downsample\.(.+)", _STAGE + r"downsampling_layer.\2"),
    # The authors renamed timm's `gamma`, because older transformers rewrote names with that word.
    (_SLOW + r"stages\.(\d+)\.blocks\.(\d+)\.weight", _BLOCK + "layer_scale_parameter"),
    (_SLOW + r"stages\.(\d+)\.blocks\.(\d+)\.conv_dw\.(.+)", _BLOCK + r"dwconv.\3"),
    (_SLOW + r"stages\.(\d+)\.blocks\.(\d+)\.norm\.(.+)", _BLOCK + r"layernorm.\3"),
    (_SLOW + r"stages\.(\d+)\.blocks\.(\d+)\.mlp\.fc([12])\.(.+)", _BLOCK + r"pwconv\3.\4"),
    (_TOWER + r"align_stages_latent\.(.+)", _HERE + r"adapters.\1"),
    (_TOWER + r"align_stages\.0\.(.+)", _HERE + r"fusion.\1"),
)

# What the authors' forward pass never reads, and tables that are worked out anew.
UNUSED = (
    _FAST + r"embeddings\.(?:class_embedding|position_ids)",
    _FAST + r"post_layernorm\..+",
    _SLOW + r"head\..+",
    r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
)


def renamed(key: str) -> str | None:
    """The name here of a weight of the authors; None for one that is not used. Raises ValueError for any other."""
    if any(re.fullmatch(pattern, key) for pattern in UNUSED):
        return None
    for pattern, name in RENAMED:
        if match := re.fullmatch(pattern, key):
            return match.expand(name)
    raise ValueError(f"the checkpoint has a weight {shown(key)}, for which LLaVA-HR has no place")
