// Pure functions of the layer scrubber: numbers and texts, no page. Layers are counted from 0 here, as in files;
// what people read counts from 1.

const VIRIDIS = [
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142],
  [31, 158, 137], [53, 183, 121], [109, 205, 89], [180, 222, 44], [253, 231, 37],
];

// The colour at `share`, 0 to 1, as [red, green, blue].
function viridis(share) {
  const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return VIRIDIS[low].map((value, i) => Math.round(value + (VIRIDIS[low + 1][i] - value) * (at - low)));
}

const rgba = (share, alpha) => "rgba(" + viridis(share).join(",") + "," + alpha + ")";

// The colours of the two maps, from the first layer to the last, and from no attention to the most; and as a legend has
// them, beside each other.
const heatColor = (share) => rgba(share, 0.86);
const lookColor = (share) => rgba(share, 0.35 + 0.5 * share);
const rampOf = (color) => "linear-gradient(to right, " + VIRIDIS.map((_, i) => color(i / (VIRIDIS.length - 1))).join(", ") + ")";

// Where a rectangle of width x height comes to lie, as large as it fits, in the middle of a box.
function fitInside(width, height, boxWidth, boxHeight) {
  const scale = Math.min(boxWidth / width, boxHeight / height);
  return { scale, left: (boxWidth - width * scale) / 2, top: (boxHeight - height * scale) / 2 };
}

// The edges of the area that boxes [left, top, width, height] cover together, as [x0, y0, x1, y1]: what two share is inside.
function outlineOf(boxes) {
  const edges = new Map();
  for (const [x, y, width, height] of boxes) {
    const right = x + width, bottom = y + height;
    for (const edge of [[x, y, right, y], [x, bottom, right, bottom], [x, y, x, bottom], [right, y, right, bottom]]) {
      const key = edge.join(" ");
      if (!edges.delete(key)) edges.set(key, edge);
    }
  }
  return [...edges.values()];
}

// The parts of a picture outside `seen` [left, top, right, bottom], as rectangles of the same form.
function unseenParts(width, height, seen) {
  const [left, top, right, bottom] = seen;
  return [
    [0, 0, width, top], [0, bottom, width, height], [0, top, left, bottom], [right, top, width, bottom],
  ].filter(([x0, y0, x1, y1]) => x1 - x0 > 0.01 && y1 - y0 > 0.01);
}

// The tokens of one view of the picture: all of them, but for a model that sees a picture twice, whole and in tiles.
function tokensOf(trace, view) {
  const shown = [];
  trace.boxes.forEach((box, index) => { if (box && trace.views[index] === view) shown.push(index); });
  return shown;
}

// What is drawn of a comparison, side by side: the second's, and the first's where both prune.
function tracesOf(value) {
  return value.against ? [value, { ...value, ...value.against }] : [value];
}

const VIEW_NAMES = { grid: "Picture", tile: "Tiles", base: "Whole picture" };

function viewsOf(trace) {
  return Object.keys(VIEW_NAMES).filter((view) => trace.views.includes(view));
}

// Whether tokens end lines of patches: newlines lines of tiles, and text (Pixtral's) the rows of the picture.
const hasNewlines = (trace) => trace.views.includes("newline");
const hasLineEnds = (trace) => hasNewlines(trace) || trace.row_ends.length > 0;

// The line ends of a view: [{index, top, bottom}], beside the line that each ends; the index of text, which is never
// dropped, is -1. A line of padding has no place.
function lineEndsOf(trace, view) {
  if (view === "grid") return trace.row_ends.map((last) => ({ index: -1, top: trace.boxes[last][1], bottom: trace.boxes[last][3] }));
  const ends = [];
  let line = null;
  if (view === "tile") trace.views.forEach((kind, index) => {
    if (kind === "newline") {
      if (line) ends.push({ index, top: line[1], bottom: line[3] });
      line = null;
    } else if (kind === view && trace.boxes[index]) line = trace.boxes[index];
  });
  return ends;
}

// The line end beside a point's line, or -1.
function lineEndAt(trace, view, y) {
  const found = lineEndsOf(trace, view).find((end) => y >= end.top && y < end.bottom);
  return found ? found.index : -1;
}

// What people call a token: some families make one of 2 x 2 patches, and some have tokens that show no patch.
function unitOf(trace) {
  return trace.merge > 1 || hasNewlines(trace) ? "tokens" : "patches";
}

// The token whose box holds a point of the picture, or -1.
function tokenAt(trace, tokens, x, y) {
  const found = tokens.find((index) => {
    const [x0, y0, x1, y1] = trace.boxes[index];
    return x >= x0 && x < x1 && y >= y0 && y < y1;
  });
  return found === undefined ? -1 : found;
}

// The token next to one in a direction (-1, 0 or 1 across and down): the nearest, and of these the least aside. The first
// where there was none; the same where nothing follows.
function neighbourOf(trace, tokens, index, across, down) {
  if (!tokens.includes(index)) return tokens.length ? tokens[0] : -1;
  const centre = (token) => {
    const [x0, y0, x1, y1] = trace.boxes[token];
    return [(x0 + x1) / 2, (y0 + y1) / 2];
  };
  const [x, y] = centre(index);
  let best = index, least = Infinity;
  for (const token of tokens) {
    const dx = centre(token)[0] - x, dy = centre(token)[1] - y;
    const along = dx * across + dy * down, aside = Math.abs(dx * down) + Math.abs(dy * across);
    if (along > 1e-6 && along + 4 * aside < least) [best, least] = [token, along + 4 * aside];
  }
  return best;
}

// Whether a token leaves a layer.
function isKept(trace, index, layer) {
  return trace.dropped_after[index] > layer;
}

// The tile that shows the middle of a token, from 0, or -1.
function tileOf(trace, index) {
  const [left, top, right, bottom] = trace.boxes[index], x = (left + right) / 2, y = (top + bottom) / 2;
  return trace.tiles.findIndex(([x0, y0, x1, y1]) => x >= x0 && x < x1 && y >= y0 && y < y1);
}

// Row and column of a token in its view, or in its tile where tokens come tile by tile; all from 1. A tile and the
// whole-picture view of a tiled model are square by themselves. Where newlines end the lines of all tiles, a token has
// its place in the lines, and the tile beside.
function placeOf(trace, index) {
  const view = trace.views[index];
  const first = trace.views.indexOf(view);
  let number = 0;
  for (let i = first; i < index; i++) number += trace.views[i] === view;
  const count = trace.views.filter((other) => other === view).length;
  const tiled = view === "tile" && trace.tiles.length > 0, byTile = tiled && !hasNewlines(trace);
  const ofTile = byTile ? count / trace.tiles.length : count;
  const columns = byTile || view === "base" ? Math.round(Math.sqrt(ofTile)) : trace.columns;
  const inside = number % ofTile;
  const place = { row: Math.floor(inside / columns) + 1, column: (inside % columns) + 1 };
  return tiled ? { tile: (byTile ? Math.floor(number / ofTile) : tileOf(trace, index)) + 1, ...place } : place;
}

function nameOf(trace, index) {
  const view = trace.views[index];
  if (view === "newline") {
    return "Newline at the end of line " + trace.views.slice(0, index + 1).filter((other) => other === view).length;
  }
  if (view === "class") return "Class token";
  const { tile, row, column } = placeOf(trace, index), of = tile + " of " + trace.tiles.length;
  if (tile && hasNewlines(trace)) return "Row " + row + ", column " + column + ", in tile " + of;
  return (tile ? "Tile " + of + ", row " : "Row ") + row + ", column " + column;
}

function droppedAt(trace, layer) {
  if (layer < 0) return trace.dropped_after.filter((other) => other < 0).length;
  return (layer > 0 ? trace.tokens[layer - 1] : trace.boxes.length - droppedAt(trace, -1)) - trace.tokens[layer];
}

// What people read about one token.
function describeToken(trace, index) {
  const where = nameOf(trace, index);
  const layer = trace.dropped_after[index];
  if (layer >= trace.layers) return where + ": kept through all " + trace.layers + " layers.";
  const when = layer < 0 ? "before layer 1" : "after layer " + (layer + 1);
  return where + ": dropped " + when + ", rank " + writeCount(trace.rank[index]) + " of " +
    writeCount(droppedAt(trace, layer)) + " there (1 = least important).";
}

const writeKept = (trace, layer) => writeCount(trace.tokens[layer]) + " of " + writeCount(trace.boxes.length) + " " + unitOf(trace) + " kept";

function describeLayer(trace, layer) {
  const gone = droppedAt(trace, layer);
  const before = layer === 0 ? droppedAt(trace, -1) : 0;
  return writeKept(trace, layer) +
    (before ? ", " + writeCount(before) + " dropped before layer 1" : "") +
    (gone ? ", " + writeCount(gone) + " dropped here" : ", none dropped here");
}

// Of what all visual tokens get at a layer, the least that a map is drawn of: in colours that go from none to the most, the
// rounding of zero would look like all there is.
const LEAST_LOOK = 0.001;
const isMap = (looks, layer) => looks.share[layer] >= LEAST_LOOK;

// The layer at which visual tokens get the most, the first of equals.
const mostLooked = (looks) => looks.share.indexOf(Math.max(...looks.share));

// Where a token of an answer looked at a layer, in words. looks: {side, token, looks: {levels, most, share}}.
function describeLooks(trace, { side, token, looks }, layer, marked) {
  const who = (side ? "Right" : "Left") + ", choosing " + (token ? "“" + token + "”" : "to end"), most = mostLooked(looks);
  const level = marked >= 0 ? looks.levels[layer][marked] : -1;
  if (marked >= 0) {
    const where = nameOf(trace, marked);
    return level < 0 ? where + ": dropped earlier." : where + ": " + writeShare(looks.most[layer] * level / 255) + " of the attention.";
  }
  if (!isMap(looks, layer)) {
    return who + ": " + writeShare(looks.share[layer]) + " of its attention here goes to visual tokens, too little for a map. " +
      (isMap(looks, most) ? "Layer " + (most + 1) + " gives them most: " + writeShare(looks.share[most]) + "." : "So it is at all layers.");
  }
  return (layer === most ? "Layer " + (layer + 1) + ", where it looked most. " : "") + who + ": " + writeShare(looks.share[layer]) +
    " of its attention here goes to visual tokens, " + writeShare(looks.most[layer]) + " to the brightest.";
}

const UNPLACED_NAMES = {
  newline: ["newline", "newlines"], class: ["class token", "class tokens"], padding: ["of padding", "of padding"],
};

// What the count of a layer leaves open: how much of it is this view's, and that some tokens (the ends of lines of tiles,
// pure padding) are counted but have no place in the picture, or that tokens at the ends of rows are text. Empty where
// every token is on show.
function describeView(trace, tokens, layer) {
  const counts = {};
  let unplaced = 0;
  trace.boxes.forEach((box, index) => {
    if (box) return;
    const kind = trace.views[index] in UNPLACED_NAMES ? trace.views[index] : "padding";
    counts[kind] = (counts[kind] || 0) + 1;
    unplaced += 1;
  });
  const kinds = Object.keys(UNPLACED_NAMES).filter((kind) => counts[kind]);
  const words = kinds.map((kind) => writeCount(counts[kind]) + " " + UNPLACED_NAMES[kind][counts[kind] > 1 ? 1 : 0]).join(", ");
  const kept = tokens.filter((index) => isKept(trace, index, layer)).length;
  return (viewsOf(trace).length > 1 ? writeCount(kept) + " of " + writeCount(tokens.length) + " " + unitOf(trace) + " of this view are left. " : "") +
    (unplaced ? writeCount(unplaced) + " of all show no part of the picture: " + words + ". " : "") +
    (trace.row_ends.length ? "The ends of " + trace.row_ends.length + " rows are text, which is never dropped. " : "");
}

// Of a scene, how much of what is asked about is left after a layer; empty where that is not known.
function describeAsked(trace, layer) {
  if (!trace.asked) return "";
  const all = trace.asked.tokens.length, left = trace.asked.tokens.filter((index) => isKept(trace, index, layer)).length;
  return "Of the " + trace.asked.name + ": " + writeCount(left) + " of " + writeCount(all) + " " + unitOf(trace) + " left (" + Math.round(100 * left / all) + " %). ";
}

// An SVG path through one step a value; y runs down from `height` (0) to 0 (`most`).
function stepPath(values, most, width, height) {
  const across = width / values.length;
  return values.map((value, i) => {
    const y = (height - height * value / most).toFixed(2);
    return (i ? "V" : "M0 ") + y + "H" + ((i + 1) * across).toFixed(2);
  }).join("");
}

// In Node, where these functions are tested on their own.
if (typeof module !== "undefined" && module.exports) {
  module.exports = {
    viridis, fitInside, outlineOf, unseenParts, tokensOf, viewsOf, lineEndsOf, lineEndAt, tokenAt, tileOf, isKept, placeOf,
    droppedAt, describeToken, describeLayer, describeView, stepPath,
    neighbourOf, describeAsked, tracesOf, describeLooks, mostLooked, rampOf, lookColor,
  };
}
