const assert = require("node:assert");
const test = require("node:test");
const g = require("../../fitprune_core/report/view/scrubber/geometry.js");
const { writeGflops, writeCount, writeShare } = Object.assign(globalThis, require("../../fitprune_core/report/view/shared.js"));

// 2 x 2 patches of 10 pixels in the middle of a picture of 40 x 20; two layers.
const trace = {
  width: 40, height: 20, seen: [10, 0, 30, 20], rows: 2, columns: 2, layers: 2,
  boxes: [[10, 0, 20, 10], [20, 0, 30, 10], [10, 10, 20, 20], [20, 10, 30, 20]],
  views: ["grid", "grid", "grid", "grid"], tiles: [], merge: 1, row_ends: [], dropped_after: [0, 2, 1, 0], rank: [2, 0, 1, 1], tokens: [2, 1],
};

test("viridis begins dark and ends yellow", () => {
  assert.deepStrictEqual(g.viridis(0), [68, 1, 84]);
  assert.deepStrictEqual(g.viridis(1), [253, 231, 37]);
  assert.deepStrictEqual(g.viridis(7), [253, 231, 37]);
});

test("a picture fits inside its box, in the middle", () => {
  assert.deepStrictEqual(g.fitInside(40, 20, 100, 100), { scale: 2.5, left: 0, top: 25 });
  assert.deepStrictEqual(g.fitInside(10, 100, 100, 100), { scale: 1, left: 45, top: 0 });
});

test("an area of boxes has edges where nothing lies beside them", () => {
  assert.deepStrictEqual(g.outlineOf([]), []);
  assert.strictEqual(g.outlineOf([[0, 0, 10, 10]]).length, 4);
  const two = g.outlineOf([[0, 0, 10, 10], [10, 0, 10, 10]]);
  assert.strictEqual(two.length, 6);
  assert.ok(!two.some(([x0, , x1]) => x0 === 10 && x1 === 10)); // what they share
  assert.strictEqual(g.outlineOf([[0, 0, 10, 10], [10, 10, 10, 10]]).length, 8); // by a corner alone
});

test("what was cropped away lies left and right, above and below", () => {
  assert.deepStrictEqual(g.unseenParts(40, 20, [10, 0, 30, 20]), [[0, 0, 10, 20], [30, 0, 40, 20]]);
  assert.deepStrictEqual(g.unseenParts(20, 40, [0, 10, 20, 30]), [[0, 0, 20, 10], [0, 30, 20, 40]]);
  assert.deepStrictEqual(g.unseenParts(20, 20, [0, 0, 20, 20]), []);
});

test("a point belongs to the patch whose box holds it", () => {
  const tokens = g.tokensOf(trace, "grid");
  assert.strictEqual(g.tokenAt(trace, tokens, 10, 0), 0);
  assert.strictEqual(g.tokenAt(trace, tokens, 20, 0), 1);
  assert.strictEqual(g.tokenAt(trace, tokens, 29.9, 19.9), 3);
  assert.strictEqual(g.tokenAt(trace, tokens, 5, 5), -1);
});

test("a token leaves the layers before the one that drops it", () => {
  assert.strictEqual(g.isKept(trace, 2, 0), true);
  assert.strictEqual(g.isKept(trace, 2, 1), false);
  assert.strictEqual(g.isKept(trace, 1, 1), true);
});

test("words count layers, rows and columns from 1", () => {
  assert.strictEqual(g.describeToken(trace, 0), "Row 1, column 1: dropped after layer 1, rank 2 of 2 there (1 = least important).");
  assert.strictEqual(g.describeToken(trace, 2), "Row 2, column 1: dropped after layer 2, rank 1 of 1 there (1 = least important).");
  assert.strictEqual(g.describeToken(trace, 1), "Row 1, column 2: kept through all 2 layers.");
  assert.strictEqual(g.describeLayer(trace, 0), "2 of 4 patches kept, 2 dropped here");
});

test("what never reached the first layer is told apart", () => {
  const early = { ...trace, dropped_after: [-1, 2, 0, -1], rank: [2, 0, 1, 1], tokens: [1, 1] };
  assert.strictEqual(g.isKept(early, 0, 0), false);
  assert.strictEqual(g.describeToken(early, 0), "Row 1, column 1: dropped before layer 1, rank 2 of 2 there (1 = least important).");
  assert.strictEqual(g.describeLayer(early, 0), "1 of 4 patches kept, 2 dropped before layer 1, 1 dropped here");
  assert.strictEqual(g.describeLayer(early, 1), "1 of 4 patches kept, none dropped here");
});

test("views of a tiled model are told apart, and line ends are not drawn", () => {
  const tiled = {
    columns: 2, layers: 2, tokens: [3, 2], dropped_after: [2, 2, 1, 0], rank: [0, 0, 1, 1], boxes: [[0, 0, 40, 20], [0, 0, 20, 20], [20, 0, 40, 20], null], views: ["base", "tile", "tile", "newline"],
    tiles: [], merge: 1, row_ends: [],
  };
  assert.deepStrictEqual(g.viewsOf(tiled), ["tile", "base"]);
  assert.deepStrictEqual(g.tokensOf(tiled, "tile"), [1, 2]);
  assert.deepStrictEqual(g.placeOf(tiled, 2), { row: 1, column: 2 });
  assert.deepStrictEqual(g.placeOf(tiled, 0), { row: 1, column: 1 });
});

test("a view says how much of a layer it is, and what cannot be drawn", () => {
  const tiled = {
    boxes: [[0, 0, 40, 20], [0, 0, 20, 20], [20, 0, 40, 20], null], views: ["base", "tile", "tile", "newline"],
    dropped_after: [0, 1, 2, 0], row_ends: [],
  };
  assert.strictEqual(g.describeView(tiled, [1, 2], 0), "2 of 2 tokens of this view are left. 1 of all show no part of the picture: 1 newline. ");
  assert.strictEqual(g.describeView(tiled, [1, 2], 1), "1 of 2 tokens of this view are left. 1 of all show no part of the picture: 1 newline. ");
  const padded = { boxes: [null, [0, 0, 40, 20]], views: ["grid", "grid"], dropped_after: [0, 1], row_ends: [] };
  assert.strictEqual(g.describeView(padded, [1], 0), "1 of all show no part of the picture: 1 of padding. ");
  assert.strictEqual(g.describeView(trace, [0, 1, 2, 3], 0), "");
});

test("line ends stand beside their lines, and have names", () => {
  const tiled = {
    columns: 2, layers: 2, tokens: [3, 2], dropped_after: [2, 2, 1, 0], rank: [0, 0, 1, 1], tiles: [], merge: 1, row_ends: [],
    boxes: [[0, 0, 40, 20], [0, 5, 20, 15], [20, 5, 40, 15], null], views: ["base", "tile", "tile", "newline"],
  };
  assert.deepStrictEqual(g.lineEndsOf(tiled, "tile"), [{ index: 3, top: 5, bottom: 15 }]);
  assert.deepStrictEqual(g.lineEndsOf(tiled, "base"), []);
  assert.strictEqual(g.lineEndAt(tiled, "tile", 5), 3);
  assert.strictEqual(g.lineEndAt(tiled, "tile", 15), -1);
  assert.strictEqual(g.describeToken(tiled, 3), "Newline at the end of line 1: dropped after layer 1, rank 1 of 1 there (1 = least important).");
  const padding = { ...tiled, boxes: [[0, 0, 40, 20], null, null, null] };
  assert.deepStrictEqual(g.lineEndsOf(padding, "tile"), []);
});

test("text at the ends of rows stands beside them, and is no token that could go", () => {
  const rows = {
    columns: 2, layers: 1, dropped_after: [1, 0, 1, 1], tokens: [3], tiles: [], merge: 1, row_ends: [1, 3],
    boxes: [[0, 0, 10, 10], [10, 0, 20, 10], [0, 10, 10, 20], [10, 10, 20, 20]], views: ["grid", "grid", "grid", "grid"],
  };
  assert.deepStrictEqual(g.lineEndsOf(rows, "grid"), [{ index: -1, top: 0, bottom: 10 }, { index: -1, top: 10, bottom: 20 }]);
  assert.strictEqual(g.lineEndAt(rows, "grid", 5), -1);
  assert.strictEqual(g.describeLayer(rows, 0), "3 of 4 patches kept, 1 dropped here");
  assert.strictEqual(g.describeView(rows, [0, 1, 2, 3], 0), "The ends of 2 rows are text, which is never dropped. ");
});

test("tokens that come tile by tile have a place in their tile", () => {
  // Two tiles side by side of 2 x 2 tokens each, then the whole picture in 2 x 2.
  const square = (left, top) => [0, 1, 2, 3].map((k) => [left + 10 * (k % 2), top + 10 * (k >> 1), left + 10 + 10 * (k % 2), top + 10 + 10 * (k >> 1)]);
  const tiled = {
    columns: 4, layers: 2, tokens: [12, 12], dropped_after: Array(12).fill(2), merge: 2, row_ends: [],
    tiles: [[0, 0, 20, 20], [20, 0, 40, 20]], boxes: [...square(0, 0), ...square(20, 0), ...square(0, 0)],
    views: [...Array(8).fill("tile"), ...Array(4).fill("base")],
  };
  assert.deepStrictEqual(g.placeOf(tiled, 1), { tile: 1, row: 1, column: 2 });
  assert.deepStrictEqual(g.placeOf(tiled, 6), { tile: 2, row: 2, column: 1 });
  assert.deepStrictEqual(g.placeOf(tiled, 10), { row: 2, column: 1 });
  assert.strictEqual(g.describeToken(tiled, 6), "Tile 2 of 2, row 2, column 1: kept through all 2 layers.");
  assert.strictEqual(g.describeToken(tiled, 10), "Row 2, column 1: kept through all 2 layers.");
  assert.strictEqual(g.describeLayer(tiled, 0), "12 of 12 tokens kept, none dropped here");
});

test("tokens in lines across tiles have a place in the lines, and the tile beside", () => {
  // Two tiles side by side, of 2 x 2 tokens each, in two lines with a newline at the end; the whole picture comes first.
  const line = (top) => [0, 10, 20, 30].map((left) => [left, top, left + 10, top + 10]);
  const tiled = {
    columns: 4, layers: 2, tokens: [14, 14], dropped_after: Array(14).fill(2), merge: 1, row_ends: [],
    tiles: [[0, 0, 20, 20], [20, 0, 40, 20]],
    boxes: [[0, 0, 20, 10], [20, 0, 40, 10], [0, 10, 20, 20], [20, 10, 40, 20], ...line(0), null, ...line(10), null],
    views: [...Array(4).fill("base"), ...Array(4).fill("tile"), "newline", ...Array(4).fill("tile"), "newline"],
  };
  const tiles = g.tokensOf(tiled, "tile").map((index) => g.tileOf(tiled, index));
  assert.deepStrictEqual(tiles, [0, 0, 1, 1, 0, 0, 1, 1]);
  assert.deepStrictEqual(g.placeOf(tiled, 11), { tile: 2, row: 2, column: 3 });
  assert.deepStrictEqual(g.placeOf(tiled, 3), { row: 2, column: 2 });
  assert.strictEqual(g.describeToken(tiled, 11), "Row 2, column 3, in tile 2 of 2: kept through all 2 layers.");
  assert.strictEqual(g.describeToken(tiled, 3), "Row 2, column 2: kept through all 2 layers.");
  assert.strictEqual(g.describeToken(tiled, 13), "Newline at the end of line 2: kept through all 2 layers.");
});

test("a path has one step a value", () => {
  assert.strictEqual(g.stepPath([4, 2, 1], 4, 30, 10), "M0 0.00H10.00V5.00H20.00V7.50H30.00");
});

test("figures are rounded before their unit is chosen", () => {
  const written = [[1.514, "1.51 G"], [999.9, "1.00 T"], [999.4, "999 G"], [0.9996, "1.00 G"], [0.0604, "60.4 M"], [0, "0 "]];
  for (const [gflops, text] of written) assert.strictEqual(writeGflops(gflops), text);
});

test("where a token looked is told, of a layer and of a patch", () => {
  const trace = { boxes: [[0, 0, 1, 1], [1, 0, 2, 1]], views: ["grid", "grid"], columns: 2, tiles: [] };
  const looked = { side: 1, token: "red", looks: { levels: [[51, 255], [-1, 255]], most: [0.2, 0.0004], share: [0.24, 0.0004] } };
  const told = (layer, marked) => g.describeLooks(trace, looked, layer, marked);
  assert.strictEqual(told(0, -1), "Layer 1, where it looked most. Right, choosing “red”: 24 % of its attention here goes to visual tokens, 20 % to the brightest.");
  assert.strictEqual(told(0, 0), "Row 1, column 1: 4.0 % of the attention.");
  assert.strictEqual(told(1, 0), "Row 1, column 1: dropped earlier.");
  assert.strictEqual(told(1, 1), "Row 1, column 2: < 0.1 % of the attention.");
  const little = "Right, choosing “red”: < 0.1 % of its attention here goes to visual tokens, too little for a map. ";
  assert.strictEqual(told(1, -1), little + "Layer 1 gives them most: 24 %.");
  const nothing = { ...looked, looks: { levels: [[0, 255]], most: [1e-8], share: [1e-8] } };
  assert.strictEqual(g.describeLooks(trace, nothing, 0, -1), little + "So it is at all layers.");
  assert.deepStrictEqual([g.mostLooked(looked.looks), g.mostLooked({ share: [0, 0.2, 0.3, 0.3] })], [0, 2]);
  assert.match(g.describeLooks(trace, { ...looked, side: 0, token: "" }, 0, -1), / Left, choosing to end: /);
});

test("a legend has the colours that are drawn, at their places", () => {
  const stops = g.rampOf(g.lookColor).match(/rgba\([^)]*\)/g);
  assert.strictEqual(stops.length, 10);
  assert.deepStrictEqual([stops[0], stops[3], stops[9]], [0, 3 / 9, 1].map(g.lookColor));
});

test("counts have their thousands set apart, and shares claim no more than a tenth of a percent", () => {
  assert.deepStrictEqual([0, 999, 1838, 2304000].map(writeCount), ["0", "999", "1,838", "2,304,000"]);
  const written = [[0, "0 %"], [1e-8, "< 0.1 %"], [0.001, "0.1 %"], [0.0994, "9.9 %"], [0.5, "50 %"], [0.996, "99.6 %"], [0.9995, "> 99.9 %"], [1, "100 %"]];
  for (const [share, text] of written) assert.strictEqual(writeShare(share), text);
  const many = { ...trace, boxes: Array(2928).fill(trace.boxes[0]), dropped_after: Array(2928).fill(2), tokens: [2928, 1838] };
  assert.strictEqual(g.describeLayer(many, 1), "1,838 of 2,928 patches kept, 1,090 dropped here");
});

test("of a scene it is told how much is left of what is asked about", () => {
  const trace = { boxes: [1, 2, 3, 4], views: [], merge: 1, dropped_after: [0, 2, 2, 1], asked: { name: "star", tokens: [0, 1, 3] } };
  assert.strictEqual(g.describeAsked(trace, 0), "Of the star: 2 of 3 patches left (67 %). ");
  assert.strictEqual(g.describeAsked(trace, 1), "Of the star: 1 of 3 patches left (33 %). ");
  assert.strictEqual(g.describeAsked({ ...trace, asked: null }, 0), "");
});

test("both sides of a comparison are drawn over one picture", () => {
  const value = { image: "x", tokens: [3], against: { tokens: [1] } };
  assert.deepStrictEqual(g.tracesOf(value).map((trace) => [trace.image, trace.tokens[0]]), [["x", 3], ["x", 1]]);
  assert.strictEqual(g.tracesOf({ tokens: [3], against: null }).length, 1);
});

test("arrows go to the next token of a row or a column, and stay at the edge", () => {
  const boxes = Array.from({ length: 12 }, (_, i) => {
    const x = (i % 4) * 10, y = Math.floor(i / 4) * 10;
    return [x, y, x + 10, y + 10];
  });
  boxes[6] = null; // shows nothing: it is passed over
  const tokens = boxes.map((_, i) => i).filter((i) => boxes[i]), trace = { boxes };
  const go = (from, across, down) => g.neighbourOf(trace, tokens, from, across, down);
  assert.deepStrictEqual([go(0, 1, 0), go(0, 0, 1), go(5, -1, 0), go(5, 0, -1), go(5, 1, 0)], [1, 4, 4, 1, 7]);
  assert.deepStrictEqual([go(0, -1, 0), go(0, 0, -1), go(11, 1, 0), go(11, 0, 1)], [0, 0, 11, 11]);
  assert.strictEqual(go(-1, 1, 0), 0);
  assert.strictEqual(g.neighbourOf(trace, [], -1, 1, 0), -1);
});
