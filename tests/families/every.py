"""Every family that can be pruned, as tiny random checkpoints in the Hub's layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fitprune_core.models.llava_hr.convert import convert
from tests.families import seen
from tests.families.internvl import save_tiny_internvl
from tests.families.llava_onevision import save_tiny_onevision
from tests.families.pixtral import save_tiny_pixtral
from tests.families.qwen_vl import save_tiny_qwen
from tests.families.smolvlm import save_tiny_smolvlm
from tests.official_hr import write_checkpoint
from tests.tiny import save_tiny_llava


@dataclass(frozen=True)
class Case:
    """family: as `Family.name`. kind: which of its models. write: makes a folder. sees: see `tests.families.seen`."""

    family: str
    kind: str
    write: Callable[[Path], object]
    sees: Callable[..., np.ndarray]

    def __str__(self) -> str:
        return f"{self.family}: {self.kind}"


def _save_tiny_llava_hr(path: Path) -> None:
    source = path.with_name(path.name + "-source")
    source.parent.mkdir(parents=True)
    write_checkpoint(source)
    convert(source, path)


_llava = partial(partial, save_tiny_llava, num_key_value_heads=2)

CASES = (
    Case("LLaVA-1.5", "CLIP, Llama", save_tiny_llava, seen.single_view),
    Case("LLaVA-1.5", "SigLIP, Qwen2", _llava(tower="siglip", decoder="qwen2", prompt="qwen"), seen.single_view),
    Case("LLaVA-1.5", "CLIP, Qwen3", _llava(decoder="qwen3", prompt="qwen"), seen.single_view),
    Case("LLaVA-HR", "Llama", _save_tiny_llava_hr, seen.single_view),
    Case("LLaVA-NeXT", "Llama", _llava(family="llava_next"), seen.packed_views),
    Case("LLaVA-NeXT", "Mistral", _llava(family="llava_next", decoder="mistral", prompt="mistral"), seen.packed_views),
    Case("LLaVA-OneVision", "Qwen2", save_tiny_onevision, seen.packed_views),
    Case(
        "LLaVA-OneVision", "tiles of no whole patches", partial(save_tiny_onevision, pixels_beside=2), seen.packed_views
    ),
    Case("Qwen2-VL", "dense", partial(save_tiny_qwen, kind="qwen2_vl"), seen.merged_patches),
    Case("Qwen2.5-VL", "dense", partial(save_tiny_qwen, kind="qwen2_5_vl"), seen.merged_patches),
    Case("Qwen3-VL", "dense", partial(save_tiny_qwen, kind="qwen3_vl"), seen.merged_patches),
    Case("InternVL3", "Qwen2", save_tiny_internvl, seen.shuffled_views),
    Case("InternVL3", "Qwen3", partial(save_tiny_internvl, decoder="qwen3"), seen.shuffled_views),
    Case("SmolVLM", "Idefics3", save_tiny_smolvlm, seen.shuffled_views),
    Case("SmolVLM", "SmolVLM2", partial(save_tiny_smolvlm, kind="smolvlm", scale=3), seen.shuffled_views),
    Case("Pixtral", "Mistral", save_tiny_pixtral, seen.rows_of_tokens),
    Case("Mistral3", "Mistral", partial(save_tiny_pixtral, kind="mistral3"), seen.rows_of_tokens),
)
