const assert = require("node:assert");
const test = require("node:test");
const { differingWords, excerptOf, piecesOf } = require("../../app/parts/excerpt.js");

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

test("every word that the other answer lacks in its place is told, as Compare does", () => {
  const differs = (answer, other) => differingWords(answer.split(" "), other.split(" "));
  assert.deepStrictEqual(differs("a yellow sign with the number 11", "A yellow sign with the number 41."),
    [false, false, false, false, false, false, true]);
  assert.deepStrictEqual(differs("a red car and a tree", "a car and a green tree"), [false, true, false, false, false, false]);
  assert.deepStrictEqual(differs("a car and a green tree", "a red car and a tree"), [false, false, false, false, true, false]);
  assert.deepStrictEqual(piecesOf("a blue  car ", "a red car"), [
    { text: "a", differs: false }, { text: " blue", differs: true }, { text: "  car ", differs: false }]);
  assert.deepStrictEqual(piecesOf("", "a"), []);
  assert.deepStrictEqual(piecesOf("a blue big car", "a car"), [
    { text: "a", differs: false }, { text: " blue big", differs: true }, { text: " car", differs: false }]);
});

test("answers too long for that are compared place by place", () => {
  const words = Array.from({ length: 1_500 }, (_, at) => "w" + at), others = words.map((word, at) => (at === 700 ? "other" : word));
  assert.deepStrictEqual(differingWords(words, others).map((differs, at) => differs && at).filter(Boolean), [700]);
});

test("a narrow cell begins nearer to the difference", () => {
  assert.deepStrictEqual(excerptOf("an orange rocket and a blue car", "an orange rocket and a red car", false, { before: 1, short: 22 }),
    { before: "… a ", differs: "blue", after: " car" });
  assert.deepStrictEqual(excerptOf("an orange rocket and a blue car", "an orange rocket and a blue car here", false, { before: 0, short: 22 }),
    { before: "… a blue car ", differs: "(ends here)", after: "" });
});
