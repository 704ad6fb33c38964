const assert = require("node:assert");
const test = require("node:test");
Object.assign(globalThis, require("../../fitprune_core/report/view/shared.js"));
const r = require("../../app/parts/table/rows.js");
Object.assign(globalThis, r);
const { htmlOf } = require("../../app/parts/table/page.js");

const data = {
  title: "a set", sides: ["original", "fitprune 60 %"],
  rows: [["10", "color", "What <b>color</b>?", "red"], ["9", "read", "=1+1", "K7"], ["2", "color", "Which?", "blue"], ["1", "", "So?", ""]],
  answers: [["red", "K7", "green", "yes, \"so\""], ["Red.", "KZ", "blue", "no\nno"]],
  marks: ["110-", "101-"], same: ["1111", "1000"], margins: [],
};
const sure = { ...data, margins: [[0.9, 1, 0.5, -1], [0.98, 0.07, 0.7, -1]] };
const filter = (more) => ({ side: 1, show: "all", kind: "", text: "", ...more });
const filtered = (data, filter, notes, order = data.rows.map((_, index) => index)) =>
  r.filterRows(data, filter, notes, order, r.searchTexts(data, filter.side));

test("filters leave what they say", () => {
  const left = (more, notes) => filtered(data, filter(more), notes);
  assert.deepStrictEqual(left({}), [0, 1, 2, 3]);
  assert.deepStrictEqual(left({ show: "lost" }), [1]);
  assert.deepStrictEqual(left({ show: "won" }), [2]);
  assert.deepStrictEqual(left({ show: "changed" }), [1, 2, 3]);
  assert.deepStrictEqual(left({ show: "same" }), [0]);
  assert.deepStrictEqual(left({ kind: "color" }), [0, 2]);
  assert.deepStrictEqual(left({ text: "KZ" }), [1]);
  assert.deepStrictEqual(left({ text: "which blue" }), [2]);
  assert.deepStrictEqual(filtered(data, filter({ kind: "color" }), {}, [3, 2, 1, 0]), [2, 0]);
  assert.deepStrictEqual(left({ text: "small" }, { 2: { tags: "small-text", note: "" } }), [2]);
});

test("counts are those of the filters", () => {
  for (const among of [{}, { kind: "color" }, { text: "color" }, { kind: "color", text: "what" }]) {
    const counts = r.countShown(data, 1, filtered(data, filter(among)));
    for (const show in counts) assert.strictEqual(counts[show], filtered(data, filter({ show, ...among })).length);
  }
});

test("of many sides the original and the chosen one are in sight", () => {
  assert.deepStrictEqual([...r.sidesInSight(11, 7, 4)], [0, 7, 1, 2]);
  assert.deepStrictEqual([...r.sidesInSight(3, 2, 4)], [0, 2, 1]);
  assert.deepStrictEqual([...r.sidesInSight(1, 0, 4)], [0]);
});

test("numbers sort by value, and rows that are equal stay as they were", () => {
  assert.deepStrictEqual(r.sortRows(data, [0, 1, 2, 3], "id", false, 1), [3, 2, 1, 0]);
  assert.deepStrictEqual(r.sortRows(data, [0, 1, 2, 3], "id", true, 1), [0, 1, 2, 3]);
  assert.deepStrictEqual(r.sortRows(data, [2, 0], "kind", false, 1), [0, 2]);
  assert.deepStrictEqual(r.sortRows(data, [3, 1], "", false, 1), [3, 1]);
});

test("rows sort by how sure an answer was, and leave with it", () => {
  assert.deepStrictEqual(r.sortRows(sure, [0, 1, 2, 3], "margin", false, 1), [3, 1, 2, 0]);
  assert.deepStrictEqual(r.sortRows(sure, [0, 1, 2, 3], "margin", false, 0), [3, 2, 0, 1]);
  assert.strictEqual(r.recordOf(sure, 1, {})["fitprune 60 %, margin"], "0.070");
  assert.strictEqual(r.recordOf(sure, 3, {})["original, margin"], "");
  assert.match(r.csvOf(sure, [0], {}), /^id,.*original,"original, judged","original, margin",fitprune 60 %,/);
  assert.ok(!("fitprune 60 %, margin" in r.recordOf(data, 1, {})));
});

test("a spreadsheet gets texts, not formulas", () => {
  const lines = r.csvOf(data, [1, 3], { 9: { tags: "@x", note: "-5" } }).split("\n");
  assert.strictEqual(lines[0], "id,kind,question,expected,tags,note,original,\"original, judged\",fitprune 60 %,\"fitprune 60 %, judged\"");
  assert.strictEqual(lines[1], "9,read,'=1+1,K7,'@x,-5,K7,right,KZ,wrong");
  assert.match(r.csvOf(data, [3], {}), /"yes, ""so""",,"no\nno",/);
  for (const text of ["=1+1", " =1+1", "\n=1+1", "\uff1d1+1", "\u00a0@x"]) {
    const odd = { ...data, rows: [["1", "", text, ""]] };
    assert.match(r.csvOf(odd, [0], {}), new RegExp(`,"?'${text.replace("+", "\\+")}`));
  }
});

test("JSON holds the same rows", () => {
  const made = JSON.parse(r.jsonOf(data, [0], {}));
  assert.deepStrictEqual(made.rows[0], r.recordOf(data, 0, {}));
  assert.strictEqual(made.rows[0]["fitprune 60 %, judged"], "right");
});

test("HTML shows markup as text", () => {
  const made = htmlOf({ ...data, sums: {}, title: "</title><script>alert(1)</script>" }, [0], 1, {}, "<i>");
  assert.ok(!made.includes("<b>color") && !made.includes("<script>alert") && !made.includes("<i>"));
  assert.ok(made.includes("&#60;b&#62;color&#60;/b&#62;"));
});

test("HTML holds the original and the chosen side, and the sums of all as a table", () => {
  const sum = { right: [3, 4, 0.3, 0.95], same: [2, 4, 0.15, 0.85], against: "lost 1, won 0", gflops: 2 };
  const three = { ...sure, sides: [...data.sides, "random 60 %"], answers: [...data.answers, ["other", "K7", "green", "no"]],
    marks: [...data.marks, "0000"], same: [...data.same, "0000"], margins: [...sure.margins, [0, 0, 0, 0]], sums: { "": [sum, sum, sum] } };
  const made = htmlOf(three, [1], 1, {}, "rows"), [sums, rows] = made.split('id="rows"');
  assert.ok(rows.includes('<td class="wrong">KZ</td>') && rows.includes("0.070") && !rows.includes("random"));
  assert.strictEqual(sums.match(/<tr/g).length, 4);
  assert.ok(sums.includes('<tr class="chosen"><td>fitprune 60 %') && sums.includes("lost 1, won 0") && sums.includes("2.00 G"));
});

test("what the other sides answered is counted in words", () => {
  const many = { marks: ["1", "0", "1", "0", "1"] };
  assert.strictEqual(r.othersInWords(many, 0, 1), "3 other sides: 2 right, 1 wrong");
  assert.strictEqual(r.othersInWords({ marks: ["-", "-", "-"] }, 0, 1), "1 other side");
});

test("a share is said with its interval", () => {
  assert.strictEqual(r.shareInWords([971, 1000, 0.9587, 0.9797]), "97.1 % (95.9 to 98.0), 971 of 1,000");
  assert.strictEqual(r.shareInWords([]), "not known");
});

test("five thousand rows are filtered and sorted", () => {
  const many = {
    ...data, rows: Array.from({ length: 5000 }, (_, n) => [String(n), n % 7 ? "a" : "b", "Question " + (n * 7919) % 5000, "x"]),
    answers: [Array(5000).fill("x"), Array.from({ length: 5000 }, (_, n) => "y" + n)],
    marks: ["1".repeat(5000), "01".repeat(2500)], same: ["1".repeat(5000), "01".repeat(2500)],
  };
  const left = filtered(many, filter({ show: "lost", text: "question" }));
  assert.strictEqual(left.length, 2500);
  const sorted = r.sortRows(many, left, "question", false, 1);
  const numbers = sorted.map((index) => Number(many.rows[index][2].slice(9)));
  assert.deepStrictEqual(numbers, [...numbers].sort((a, b) => a - b));
});
