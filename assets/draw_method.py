"""Draws the README's figure of the method: `python assets/draw_method.py` writes assets/method.svg.

The bars are the authors' 60 % recipe for LLaVA-1.5-7B, from recipes/.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from fitprune_core.cost.decoder import tokens_per_layer  # noqa: E402
from fitprune_core.recipes.recipe import PruningRecipe  # noqa: E402

WIDTH, HEIGHT = 980, 332
PANEL = 286
STYLE = """
  text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; font-size: 12.5px;
         fill: #1f2328; }
  .title { font-weight: 600; font-size: 15px; }
  .small { font-size: 11px; fill: #59636e; }
  .box { fill: #f6f8fa; stroke: #d1d9e0; }
  .line { stroke: #59636e; stroke-width: 1.4; fill: none; }
  .head { fill: #59636e; }
  .kept { fill: #0b7285; }
  .gone { fill: #d1d9e0; }
  .low { fill: #c2510c; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .small { fill: #9198a1; }
    .box { fill: #151b23; stroke: #3d444d; }
    .line { stroke: #9198a1; }
    .head { fill: #9198a1; }
    .kept { fill: #3bc9db; }
    .gone { fill: #3d444d; }
    .low { fill: #ffa94d; }
  }
"""


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def box(x: float, y: float, width: float, lines: list[str], small: int = 0) -> str:
    """A box with centred lines; the last `small` of them are set small."""
    height = 14 + 17 * len(lines)
    parts = [f'<rect class="box" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>']
    for number, words in enumerate(lines):
        kind = "small" if number >= len(lines) - small else ""
        parts.append(text(x + width / 2, y + 20 + 17 * number, words, kind, "middle"))
    return "".join(parts)


def arrow(x: float, y: float, length: float) -> str:
    """An arrow down."""
    end = y + length
    return f'<path class="line" d="M{x} {y}V{end - 5}"/><path class="head" d="M{x - 4} {end - 6}h8l-4 6z"/>'


def fit_panel(x: float) -> str:
    middle = x + PANEL / 2
    return "".join([
        text(x, 30, "1  Fit how many, once", "title"),
        box(x, 46, PANEL, ["a few dozen pictures, unpruned model"]),
        arrow(middle, 77, 20),
        box(x, 97, PANEL, [
            "attention that each visual token receives",
            "self s: from the visual tokens", "cross c: from the question",
        ], 2),
        arrow(middle, 162, 20),
        box(x, 182, PANEL, [
            "drop what both find least looked at",
            "the smallest loss of attention, equal at", "every layer, that meets the FLOPs budget",
        ], 2),
        arrow(middle, 247, 20),
        box(x, 267, PANEL, ["recipe: tokens to drop at each layer"]),
    ])  # fmt: skip


def layer_panel(x: float) -> str:
    middle = x + PANEL / 2
    heights = [22, 9, 30, 5, 26, 14, 7, 33, 18, 4, 28, 12]
    lowest = sorted(heights)[:5]
    bars = "".join(
        f'<rect class="{"low" if height in lowest else "kept"}" x="{x + 30 + 19.5 * number}" y="{196 - height}" '
        f'width="12" height="{height}" rx="1.5"/>'
        for number, height in enumerate(heights)
    )
    return "".join([
        text(x, 30, "2  Drop the least important", "title"),
        box(x, 46, PANEL, ["attention over all tokens that arrived"]),
        arrow(middle, 77, 20),
        f'<rect class="box" x="{x}" y="97" width="{PANEL}" height="150" rx="6"/>',
        text(middle, 117, "importance of a visual token: s × c", "", "middle"),
        text(middle, 134, "for this picture and this question", "small", "middle"),
        bars,
        text(middle, 219, "the recipe's number of lowest ones go;", "small", "middle"),
        text(middle, 235, "text always stays", "small", "middle"),
        arrow(middle, 247, 20),
        box(x, 267, PANEL, ["output projection and MLP over the rest"]),
    ])  # fmt: skip


def layers_panel(x: float, recipe: PruningRecipe) -> str:
    left = tokens_per_layer(recipe.removed, recipe.num_visual_tokens)
    top, height, step = 62, 200, PANEL / len(left)
    bars = []
    for layer, count in enumerate(left):
        at, full = x + layer * step, recipe.num_visual_tokens
        tall = height * count / full
        for kind, y, part in (("gone", top, height - tall), ("kept", top + height - tall, tall)):
            bars.append(f'<rect class="{kind}" x="{at:.1f}" y="{y:.1f}" width="{step - 2:.1f}" height="{part:.1f}"/>')
    return "".join([
        text(x, 30, "3  Every later layer is smaller", "title"),
        text(x, 52, f"visual tokens that leave each of {len(left)} layers", "small"),
        *bars,
        text(x, 280, "layer 1", "small"),
        text(x + PANEL - 2, 280, f"{len(left)}", "small", "end"),
        text(x, 300, f"LLaVA-1.5-7B: of {recipe.num_visual_tokens} tokens {left[-1]} reach the end;", "small"),
        text(x, 317, f"{recipe.achieved_reduction:.1%} of the FLOPs on visual tokens are saved", "small"),
    ])  # fmt: skip


def main() -> None:
    recipe = PruningRecipe.load(HERE.parent / "recipes" / "llava-1.5-7b" / "published-60.json")
    about = "FitPrune: fit how many visual tokens each layer drops, rank them inside the layer, drop the lowest."
    panels = fit_panel(16) + layer_panel(346) + layers_panel(676, recipe)
    (HERE / "method.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{about}</title><style>{STYLE}</style>{panels}</svg>\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
