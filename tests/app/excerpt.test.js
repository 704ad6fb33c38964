const assert = require("node:assert");
const test = require("node:test");
const { excerptOf } = require("../../app/parts/grid/excerpt.js");

const long = "There is a red house in the top left and a big blue car below it, and nothing else to see.";

test("the first word that differs is told apart, whatever its case and signs", () => {
  assert.deepStrictEqual(excerptOf("a blue car", "A red car", false), { before: "a ", differs: "blue", after: " car" });
  assert.deepStrictEqual(excerptOf("A red car.", "a red car", false), { before: "A red car.", differs: "", after: "" });
});

test("of a long answer what lies far before is left out, unless all is asked for", () => {
  const other = long.replace("blue", "green");
  assert.deepStrictEqual(excerptOf(other, long, false),
    { before: "… and a big ", differs: "green", after: " car below it, and nothing else to see." });
  const { before, differs, after } = excerptOf(other, long, true);
  assert.strictEqual(before + differs + after, other);
});

test("an answer that ends before, goes on longer, or is empty", () => {
  assert.deepStrictEqual(excerptOf("a red", "a red car", false), { before: "a red ", differs: "(ends here)", after: "" });
  assert.deepStrictEqual(excerptOf("a red car here", "a red car", false), { before: "a red car ", differs: "here", after: "" });
  assert.deepStrictEqual(excerptOf("", "a", false), { before: "", differs: "", after: "" });
});
