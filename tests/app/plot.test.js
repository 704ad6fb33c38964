const assert = require("node:assert");
const test = require("node:test");
const { apart, marginLines } = require("../../app/parts/grid/plot.js");

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

test("lines of equal margins lie beside each other, however many, and one alone in its place", () => {
  assert.strictEqual(apart(0, 1), 0);
  for (const count of [2, 5, 11]) {
    const places = Array.from({ length: count }, (_, order) => apart(order, count));
    assert.ok(places.every((place, order) => Math.abs(place) <= 6 && (!order || place < places[order - 1] - 1)));
  }
});
