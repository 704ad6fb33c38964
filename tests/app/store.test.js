const assert = require("node:assert");
const test = require("node:test");
const { remember, inOrder, changed } = require("../../app/parts/history/store.js");

const entry = (id, at, text = "text " + id, more = {}) => ({ id, at, name: "", pinned: false, text, link: "", picture: "", ...more });
const ids = (list) => list.map(({ id }) => id).join("");
const fill = (count, most) => Array.from({ length: count }, (_, n) => entry(String(n), n)).reduce((list, one) => remember(list, one, most), []);

test("no more is kept than there is room for, the oldest goes first", () => {
  assert.strictEqual(ids(fill(6, { entries: 4, characters: 1000 })), "2345");
  assert.strictEqual(ids(fill(6, { entries: 100, characters: 6 * 3 })), "345");
});

test("what is pinned goes last, and the newest stays", () => {
  const most = { entries: 3, characters: 1000 };
  let list = changed(fill(3, most), "0", { pinned: true });
  list = remember(list, entry("3", 3), most);
  assert.strictEqual(ids(list), "023");
  list = remember(changed(changed(list, "2", { pinned: true }), "3", { pinned: true }), entry("4", 4), most);
  assert.strictEqual(ids(list), "234");
});

test("one that is larger than all room is kept alone", () => {
  assert.strictEqual(ids(remember(fill(2, { entries: 9, characters: 99 }), entry("x", 9, "x".repeat(200)), { entries: 9, characters: 99 })), "x");
});

test("the same once more keeps its name and its pin, and becomes the newest", () => {
  const list = changed(fill(3), "0", { pinned: true, name: "mine" });
  const again = remember(list, entry("other", 9, "text 0"));
  assert.deepStrictEqual(again.map(({ id, at, name, pinned }) => [id, at, name, pinned]), [["1", 1, "", false], ["2", 2, "", false], ["0", 9, "mine", true]]);
});

test("pinned ones come first, and the newest before the older", () => {
  assert.strictEqual(ids(inOrder(changed(fill(4), "1", { pinned: true }))), "1320");
});
