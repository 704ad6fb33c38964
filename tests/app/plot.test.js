const assert = require("node:assert");
const test = require("node:test");
const { depthOf, marginLines } = require("../../app/parts/grid/plot.js");

const cell = (margin, same = true) => ({ margin, same });

test("a line begins at the original's answer, in the order of budgets, and waits for what is not answered", () => {
  const data = { methods: ["a", "b"], percents: [60, 20], margin: 0.9, cells: [[cell(0.2, false), cell(0.8)], [null, cell(0.7)]] };
  assert.deepStrictEqual(marginLines(data), [
    { method: "a", points: [{ percent: 0, margin: 0.9, same: true }, { percent: 20, margin: 0.8, same: true }, { percent: 60, margin: 0.2, same: false }] },
    { method: "b", points: [{ percent: 0, margin: 0.9, same: true }, { percent: 20, margin: 0.7, same: true }] },
  ]);
});

test("what nobody knows is not drawn", () => {
  const data = { methods: ["a"], percents: [20, 60], margin: null, cells: [[cell(null), cell(0.5)]] };
  assert.deepStrictEqual(marginLines(data), [{ method: "a", points: [{ percent: 60, margin: 0.5, same: true }] }]);
});

test("lines of equal margins lie beside each other, however many, and none outside of the plot", () => {
  for (const count of [1, 2, 5, 11]) {
    for (const margin of [0, 0.3, 1]) {
      const depths = Array.from({ length: count }, (_, order) => depthOf(margin, order, count, 146));
      assert.ok(depths.every((depth, order) => depth >= 0 && depth <= 146 && (!order || depth > depths[order - 1] + 1)));
    }
    assert.strictEqual(depthOf(1, 0, count, 146), 0);
    assert.strictEqual(depthOf(0, count - 1, count, 146), 146);
  }
});
