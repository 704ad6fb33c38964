const assert = require("node:assert");
const test = require("node:test");
const { placeNames, stylesOf } = require("../../app/parts/lines.js");

test("FitPrune and the original have a colour of their own wherever they stand among the others", () => {
  for (const methods of [["original", "fitprune", "random"], ["random", "fitprune", "original"]]) {
    const styles = stylesOf(methods);
    assert.deepStrictEqual([styles.get("original"), styles.get("fitprune"), styles.get("random")], ["c-first", "c0", "c1"]);
  }
  const many = stylesOf(["fitprune", ..."abcdefghij"]);
  assert.strictEqual(new Set(many.values()).size, 11);
  assert.ok([...many.values()].slice(0, 9).every((style) => !style.startsWith("c5")));
  assert.strictEqual(stylesOf(["a", "a"]).size, 1);
});

test("names stay where their lines end unless they would run into each other, and inside of the plot", () => {
  assert.deepStrictEqual(placeNames([10, 80], 15, 100), [10, 80]);
  assert.deepStrictEqual(placeNames([50, 50, 10], 15, 100), [50, 65, 10]);
  assert.deepStrictEqual(placeNames([100, 100, 99], 15, 100), [85, 100, 70]);
});
