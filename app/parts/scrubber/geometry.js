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

function layerColor(layer, layers, alpha) {
  return "rgba(" + viridis(layers > 1 ? layer / (layers - 1) : 0).join(",") + "," + alpha + ")";
}

// Where a rectangle of width x height comes to lie, as large as it fits, in the middle of a box.
function fitInside(width, height, boxWidth, boxHeight) {
  const scale = Math.min(boxWidth / width, boxHeight / height);
  return { scale, left: (boxWidth - width * scale) / 2, top: (boxHeight - height * scale) / 2 };
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

function viewsOf(trace) {
  return ["grid", "tile", "base"].filter((view) => trace.views.includes(view));
}

// The token whose box holds a point of the picture, or -1.
function tokenAt(trace, tokens, x, y) {
  const found = tokens.find((index) => {
    const [x0, y0, x1, y1] = trace.boxes[index];
    return x >= x0 && x < x1 && y >= y0 && y < y1;
  });
  return found === undefined ? -1 : found;
}

// Whether a token leaves a layer.
function isKept(trace, index, layer) {
  return trace.dropped_after[index] > layer;
}

// Row and column of a token in its view, from 1. Only the whole-picture view of a tiled model is square by itself.
function placeOf(trace, index) {
  const view = trace.views[index];
  const first = trace.views.indexOf(view);
  let number = 0;
  for (let i = first; i < index; i++) number += trace.views[i] === view;
  const count = trace.views.filter((other) => other === view).length;
  const columns = view === "base" ? Math.round(Math.sqrt(count)) : trace.columns;
  return { row: Math.floor(number / columns) + 1, column: (number % columns) + 1 };
}

function droppedAt(trace, layer) {
  if (layer < 0) return trace.dropped_after.filter((other) => other < 0).length;
  return (layer > 0 ? trace.tokens[layer - 1] : trace.boxes.length - droppedAt(trace, -1)) - trace.tokens[layer];
}

// What people read about one patch.
function describeToken(trace, index) {
  const { row, column } = placeOf(trace, index);
  const where = "Row " + row + ", column " + column;
  const layer = trace.dropped_after[index];
  if (layer >= trace.layers) return where + ": kept through all " + trace.layers + " layers.";
  const when = layer < 0 ? "before layer 1" : "after layer " + (layer + 1);
  return where + ": dropped " + when + ", rank " + trace.rank[index] + " of " +
    droppedAt(trace, layer) + " there (1 = least important).";
}

function describeLayer(trace, layer) {
  const gone = droppedAt(trace, layer);
  const before = layer === 0 ? droppedAt(trace, -1) : 0;
  return trace.tokens[layer] + " of " + trace.boxes.length + " patches kept" +
    (before ? ", " + before + " dropped before layer 1" : "") +
    (gone ? ", " + gone + " dropped here" : ", none dropped here");
}

// What the count of a layer leaves open: how much of it is this view's, and that some tokens (the ends of lines of tiles,
// pure padding) are counted but have no place in the picture. Empty where every token is on show.
function describeView(trace, tokens, layer) {
  const unplaced = trace.boxes.filter((box) => !box).length;
  const kept = tokens.filter((index) => isKept(trace, index, layer)).length;
  return (viewsOf(trace).length > 1 ? "In this view " + kept + " of " + tokens.length + ". " : "") +
    (unplaced ? unplaced + " of all show no part of the picture. " : "");
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
    viridis, layerColor, fitInside, unseenParts, tokensOf, viewsOf, tokenAt, isKept, placeOf, droppedAt,
    describeToken, describeLayer, describeView, stepPath,
  };
}
