"""What collecting statistics holds of a layer's attention, at the sizes of LLaVA-NeXT-7B with all of its tiles."""

from __future__ import annotations

import math
from unittest.mock import patch

import torch
from transformers import PreTrainedModel

from fitprune_core.calibration.observe import observed
from fitprune_core.models.decoder import decoder_layers
from fitprune_core.models.devices import describe_device
from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.prompt import Prompt
from fitprune_core.run.timing import Clock
from tests.benchmarks.published_way import MemoryMeter
from tests.benchmarks.report import Report
from tests.benchmarks.wide_model import TEXT_AFTER, TEXT_BEFORE, wide_llava

# Five views of 576 visual tokens each, and the layers of the real model.
NUM_VISUAL_TOKENS = 5 * 576
DEEP_LAYERS = 32
NUM_LAYERS = 2
# Tokens at which `output_attentions` is run, to see that its matrices are what is counted for all tokens.
FEWER_TOKENS = 256
# What the matrices of two layers must need at least, as a multiple of what collecting holds.
TIMES_LESS = 10


def run(rounds: int = 1, **widths: int) -> Report:
    """Collect `rounds` times, metered. widths: other sizes, for a trial."""
    model = wide_llava(NUM_LAYERS, **widths)
    clock = Clock(model.device)
    check_matrices(model)
    peaks, times = [], []
    for _ in range(rounds):
        started = clock.now()
        peaks.append(collection_peak(model, NUM_VISUAL_TOKENS))
        times.append(clock.now() - started)
    length = TEXT_BEFORE + NUM_VISUAL_TOKENS + TEXT_AFTER
    one = matrix_bytes(model, length)
    peak = max(peaks)
    if peak >= one or NUM_LAYERS * one <= TIMES_LESS * peak:
        raise RuntimeError(f"collecting holds {peak:,} bytes of scores; one layer's matrix is {one:,}")
    rows = [("scores held at once", "bytes", "as a multiple")]
    rows.append(("collecting statistics, peak (measured)", f"{peak:,}", "1"))
    for count in (1, NUM_LAYERS, DEEP_LAYERS):
        label = f"`output_attentions`, matrices of {count} layer{'s' if count > 1 else ''} (counted)"
        rows.append((label, f"{count * one:,}", f"{count * one / peak:.1f}"))
    return Report("Memory of collecting statistics", [rows], [_about(model, length, min(times))])


def prompt_of(model: PreTrainedModel, num_visual_tokens: int) -> tuple[Prompt, torch.Tensor]:
    """A prompt with its visual tokens in one run, and random embeddings in place of pictures: (1, length, width)."""
    length = TEXT_BEFORE + num_visual_tokens + TEXT_AFTER
    is_visual = torch.zeros(1, length, dtype=torch.bool)
    is_visual[:, TEXT_BEFORE : TEXT_BEFORE + num_visual_tokens] = True
    width = model.config.text_config.hidden_size
    return Prompt(is_visual, None), torch.randn(1, length, width, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def collection_peak(model: PreTrainedModel, num_visual_tokens: int) -> int:
    """The most bytes that reducing a layer's attention holds at once, of all layers."""
    prompt, embeddings = prompt_of(model, num_visual_tokens)
    meter, reduce = MemoryMeter(), LayerAttention.observed

    def metered(attention: LayerAttention) -> tuple[torch.Tensor, torch.Tensor]:
        with meter:
            return reduce(attention)

    layers: list = []
    with patch.object(LayerAttention, "observed", metered), observed(model, prompt, layers):
        model.get_decoder()(inputs_embeds=embeddings, use_cache=False)
    if len(layers) != len(decoder_layers(model)):
        raise RuntimeError(f"{len(layers)} layers were metered, not {len(decoder_layers(model))}")
    return meter.peak


def matrix_bytes(model: PreTrainedModel, length: int) -> int:
    """Bytes of one layer's attention matrices, float32 (heads, length, length)."""
    return 4 * model.config.text_config.num_attention_heads * length**2


@torch.no_grad()
def check_matrices(model: PreTrainedModel) -> None:
    """Raise RuntimeError unless what `output_attentions` keeps is what `matrix_bytes` counts, on a shorter prompt."""
    _, embeddings = prompt_of(model, FEWER_TOKENS)
    config = model.config.text_config
    before, config._attn_implementation = config._attn_implementation, "eager"
    try:
        kept = model.get_decoder()(inputs_embeds=embeddings, use_cache=False, output_attentions=True).attentions
    finally:
        config._attn_implementation = before
    found, counted = sum(matrix.nbytes for matrix in kept), NUM_LAYERS * matrix_bytes(model, embeddings.shape[1])
    if found != counted:
        raise RuntimeError(f"output_attentions keeps {found:,} bytes, not {counted:,}")


def _about(model: PreTrainedModel, length: int, seconds: float) -> str:
    text = model.config.text_config
    return (
        f"A decoder of {text.num_attention_heads} heads of {text.hidden_size // text.num_attention_heads}, "
        f"{NUM_LAYERS} layers, random weights, {NUM_VISUAL_TOKENS} visual and {length - NUM_VISUAL_TOKENS} text tokens "
        f"({describe_device(model)}); {math.ceil(seconds)} s. Measured: all that reducing a layer's attention makes; "
        "the layers take turns, so more of them hold no more. Counted: float32 matrices, as `output_attentions` keeps "
        f"them, whose size was checked by a run of {FEWER_TOKENS} visual tokens."
    )


def main() -> None:
    """Print the table."""
    print(run().markdown())


if __name__ == "__main__":
    main()
