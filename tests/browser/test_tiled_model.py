"""The scrubber over models that see a picture otherwise than in one crop: tiles with or without line ends, a view of
the whole, merged patches, and padding.
"""

from __future__ import annotations

import io
import math
from functools import partial

import pytest
from PIL import Image

import fitprune_core as fp
from app.engine import Engine
from fitprune_core.run.comparison import Comparison
from tests.app.serving import served
from tests.browser.conftest import new_page
from tests.families.internvl import save_tiny_internvl
from tests.families.llava_onevision import save_tiny_onevision
from tests.families.pixtral import save_tiny_pixtral
from tests.families.smolvlm import save_tiny_smolvlm
from tests.tiny import save_tiny_llava

pytestmark = pytest.mark.browser

SIZE, QUESTION, LAYERS = (300, 200), "What is it?", 8

# Mean brightness inside each box, given in pixels of the picture, on the canvas; at its right is room for line ends.
BRIGHTNESS = """([boxes, width, height, has_ends]) => {
  const canvas = document.querySelector('#scrubber .frame canvas'), pen = canvas.getContext('2d');
  const room = canvas.width - (has_ends ? Math.round(canvas.width / 24) : 0);
  const scale = Math.min(room / width, canvas.height / height);
  const left = (room - width * scale) / 2, top = (canvas.height - height * scale) / 2;
  return boxes.map(([x0, y0, x1, y1]) => {
    const x = Math.round(left + x0 * scale) + 2, y = Math.round(top + y0 * scale) + 2;
    const across = Math.round((x1 - x0) * scale) - 4, down = Math.round((y1 - y0) * scale) - 4;
    if (across < 2 || down < 2) return null;
    const pixels = pen.getImageData(x, y, across, down).data;
    let sum = 0;
    for (let k = 0; k < pixels.length; k += 4) sum += pixels[k] + pixels[k + 1] + pixels[k + 2];
    return sum / (pixels.length / 4 * 3);
  });
}"""


WRITERS = {
    "tiles": partial(save_tiny_llava, family="llava_next"),
    "onevision": save_tiny_onevision,
    "padding": save_tiny_llava,
    "internvl": save_tiny_internvl,
    "smolvlm": save_tiny_smolvlm,
    "pixtral": save_tiny_pixtral,
}


@pytest.fixture(scope="module", params=WRITERS)
def engine(request, tmp_path_factory):
    """A real engine on a tiny LLaVA-NeXT, LLaVA-OneVision, LLaVA-1.5 that pads, InternVL3, SmolVLM or Pixtral."""
    root = tmp_path_factory.mktemp(request.param)
    folder = WRITERS[request.param](root / "tiny", num_layers=LAYERS)
    aspect = "pad" if request.param == "padding" else "auto"
    model, processor = fp.load_model(folder, device="cpu", image_aspect=aspect)
    fp.collect_statistics(model, processor, [(white(), QUESTION)]).save(root / "recipes" / "tiny" / "statistics.npz")
    return Engine(model, processor, recipes=root / "recipes", max_new_tokens=2)


@pytest.fixture(scope="module")
def page(browser, engine):
    """The page with a result for a white picture on it."""
    buffer = io.BytesIO()
    white().save(buffer, "PNG")
    with served(engine) as url:
        page = new_page(browser)
        page.goto(url + "?__theme=light")
        page.wait_for_selector("#picture img")
        shown = page.get_attribute("#picture img", "src")
        files = [{"name": "white.png", "mimeType": "image/png", "buffer": buffer.getvalue()}]
        page.set_input_files("#picture input[type=file]", files=files)
        page.wait_for_function("shown => document.querySelector('#picture img')?.src !== shown", arg=shown)
        page.wait_for_selector("#picture img")
        page.fill("#question textarea", QUESTION)
        page.click("#run")
        page.wait_for_function("window.results > 0")
        page.wait_for_selector(".scrubber[data-state=full]")
        page.wait_for_timeout(500)  # the browser decodes the picture in the background
        yield page
        page.context.close()


@pytest.fixture(scope="module")
def result(engine) -> Comparison:
    """What the page shows, computed anew."""
    *_, comparison = engine.compare(white(), QUESTION, 60)
    return comparison


def white() -> Image.Image:
    return Image.new("RGB", SIZE, "white")


def has_ends(layout) -> bool:
    return "newline" in layout.views or bool(layout.row_ends)


def in_one_tile(layout, token) -> bool:
    left, top, right, bottom = layout.boxes[token]
    return any(
        left > x0 - 0.01 and top > y0 - 0.01 and right < x1 + 0.01 and bottom < y1 + 0.01
        for x0, y0, x1, y1 in layout.tiles
    )


def test_each_view_dims_its_own_dropped_patches_and_no_others(page, result):
    views = [view for view in ("grid", "tile", "base") if view in result.layout.views]
    assert page.is_visible("#scrubber .views") == (len(views) > 1)
    drawn = set()
    for view in views:
        if len(views) > 1:
            page.select_option("#scrubber .views", view)
        tokens = [at for at, box in enumerate(result.layout.boxes) if box and result.layout.views[at] == view]
        boxes = [result.layout.boxes[at] for at in tokens]
        for layer in (1, LAYERS):
            page.click(f"#scrubber .strip button:nth-child({layer})")
            page.wait_for_selector(f".scrubber[data-layer='{layer}']")
            found = page.evaluate(BRIGHTNESS, [boxes, *SIZE, has_ends(result.layout)])
            seen = {at: value < 235 for at, value in zip(tokens, found, strict=True) if value is not None}
            # The edge of a tile is drawn across tokens that stand for patches of two tiles (LLaVA-OneVision).
            seen = {at: dim for at, dim in seen.items() if view != "tile" or in_one_tile(result.layout, at)}
            assert len(seen) > 0.6 * len(tokens)
            assert seen == {at: result.dropped_after[at] < layer for at in seen}
            if view != "grid":
                kept = sum(result.dropped_after[at] >= layer for at in tokens)
                assert f"{kept:,} of {len(tokens):,} tokens of this view are left." in page.inner_text(
                    "#scrubber .detail"
                )
        drawn |= set(tokens)
    unplaced = result.layout.num_tokens - len(drawn)
    assert unplaced == sum(box is None for box in result.layout.boxes)
    detail, newlines = page.inner_text("#scrubber .detail"), result.layout.views.count("newline")
    assert (f"{unplaced} of all show no part of the picture: " in detail) == (unplaced > 0)
    assert (f": {newlines} newlines" in detail) == (newlines > 0)
    rows = len(result.layout.row_ends)
    assert (f"The ends of {rows} rows are text, which is never dropped." in detail) == (rows > 0)
    unit = "patches" if result.layout.merge == 1 and not newlines else "tokens"
    assert f" of {result.layout.num_tokens} {unit} kept" in page.inner_text("#scrubber .count")


def test_the_legend_names_what_this_model_has_and_nothing_else(page, result):
    views = set(result.layout.views)
    if "tile" in views:
        page.select_option("#scrubber .views", "tile")
    shown = {key: page.is_visible(f"#scrubber .{key}-key") for key in ("tile", "ends", "merged")}
    expected = {"tile": bool(result.layout.tiles), "ends": has_ends(result.layout), "merged": result.layout.merge > 1}
    assert shown == expected
    if result.layout.merge > 1:
        assert "2 × 2 patches" in page.inner_text("#scrubber .merged-key")
    if "base" in views:
        page.select_option("#scrubber .views", "base")
        assert not page.is_visible("#scrubber .tile-key")


def test_line_ends_stand_beside_their_lines(page, result):
    layout = result.layout
    if "newline" not in layout.views:
        return
    page.select_option("#scrubber .views", "tile")
    ends = [at for at, view in enumerate(layout.views) if view == "newline" and layout.boxes[at - 1]]
    assert ends
    box = page.locator("#scrubber .frame canvas").bounding_box()
    gutter = round(box["width"] / 24)
    scale = min((box["width"] - gutter) / SIZE[0], box["height"] / SIZE[1])
    left = box["x"] + (box["width"] - gutter - SIZE[0] * scale) / 2
    top = box["y"] + (box["height"] - SIZE[1] * scale) / 2
    for number, end in enumerate(at for at, view in enumerate(layout.views) if view == "newline"):
        if end not in ends:
            continue
        _, above, _, below = layout.boxes[end - 1]
        page.mouse.move(left + SIZE[0] * scale + gutter / 2, top + (above + below) / 2 * scale)
        words = f"Newline at the end of line {number + 1}: "
        page.wait_for_function(
            "words => document.querySelector('#scrubber .detail').textContent.startsWith(words)", arg=words
        )


def test_text_at_the_ends_of_rows_is_drawn_as_kept_whatever_the_layer(page, result):
    layout = result.layout
    if not layout.row_ends:
        return
    gutter = """([width, height, tops]) => {
      const canvas = document.querySelector('#scrubber .frame canvas'), pen = canvas.getContext('2d');
      const gutter = Math.round(canvas.width / 24), room = canvas.width - gutter;
      const scale = Math.min(room / width, canvas.height / height);
      const left = (room - width * scale) / 2, top = (canvas.height - height * scale) / 2;
      return tops.map((y) => [...pen.getImageData(left + width * scale + gutter / 2, top + y * scale, 1, 1).data]);
    }"""
    middles = [(layout.boxes[end][1] + layout.boxes[end][3]) / 2 for end in layout.row_ends]
    colours = set()
    for layer in (1, LAYERS):
        page.click(f"#scrubber .strip button:nth-child({layer})")
        page.wait_for_selector(f".scrubber[data-layer='{layer}']")
        colours |= {tuple(colour) for colour in page.evaluate(gutter, [*SIZE, middles])}
    assert len(colours) == 1 and next(iter(colours))[3] == 255


def test_pointing_tells_the_row_and_column_of_the_view(page, result):
    layout = result.layout
    if "base" in layout.views:
        page.select_option("#scrubber .views", "base")
    view = page.input_value("#scrubber .views")
    first = layout.views.index(view)
    columns = math.isqrt(layout.views.count("base")) if view == "base" else layout.columns
    token = next(at for at in range(first + columns * 2 + 1, layout.num_tokens) if layout.boxes[at])
    left, top, right, bottom = layout.boxes[token]
    box = page.locator("#scrubber .frame canvas").bounding_box()
    room = box["width"] - (round(box["width"] / 24) if has_ends(layout) else 0)
    scale = min(room / SIZE[0], box["height"] / SIZE[1])
    x = box["x"] + (room - SIZE[0] * scale) / 2 + (left + right) / 2 * scale
    y = box["y"] + (box["height"] - SIZE[1] * scale) / 2 + (top + bottom) / 2 * scale
    page.mouse.move(x, y)
    row, column = divmod(token - first, columns)
    words = f"Row {row + 1}, column {column + 1}:"
    page.wait_for_function(
        "words => document.querySelector('#scrubber .detail').textContent.startsWith(words)", arg=words
    )


def test_pointing_tells_the_tile_beside_the_place_in_the_lines(page, result):
    layout = result.layout
    if "newline" not in layout.views:
        return
    page.select_option("#scrubber .views", "tile")
    assert len(layout.tiles) > 1
    box = page.locator("#scrubber .frame canvas").bounding_box()
    room = box["width"] - round(box["width"] / 24)
    scale = min(room / SIZE[0], box["height"] / SIZE[1])
    first = layout.views.index("tile")
    for number, (x0, y0, x1, y1) in enumerate(layout.tiles):
        x, y = (x0 + x1) / 2 + 1, (y0 + y1) / 2 + 1
        tokens = [at for at, seen in enumerate(layout.boxes) if layout.views[at] == "tile" and seen]
        token = next(at for at in tokens if layout.boxes[at][0] <= x < layout.boxes[at][2] and y < layout.boxes[at][3])
        page.mouse.move(
            box["x"] + (room - SIZE[0] * scale) / 2 + x * scale,
            box["y"] + (box["height"] - SIZE[1] * scale) / 2 + y * scale,
        )
        row, column = divmod(token - first, layout.columns + 1)
        words = f"Row {row + 1}, column {column + 1}, in tile {number + 1} of {len(layout.tiles)}: "
        page.wait_for_function(
            "words => document.querySelector('#scrubber .detail').textContent.startsWith(words)", arg=words
        )
