// Which rows are shown, in what order, and how they leave the page. Pure functions: numbers and texts in and out.

const SHOWN = {
  all: () => true,
  lost: (first, mine) => first === "1" && mine === "0",
  won: (first, mine) => first === "0" && mine === "1",
  changed: (first, mine, same) => same === "0",
  same: (first, mine, same) => same === "1",
};

// What is searched of each row but its tags and note, in lower case: made once for a side, not at every letter that is typed.
function searchTexts(data, side) {
  return data.rows.map((row, index) => [...row, data.answers[0][index], data.answers[side][index]].join("\n").toLowerCase());
}

// The indices of the rows that a filter leaves, in an order of all of them. filter: { side, show, kind, text }, all but `side`
// may be empty. texts: of `searchTexts`.
function filterRows(data, filter, notes, order, texts) {
  const words = (filter.text || "").toLowerCase().split(/\s+/).filter(Boolean);
  const isShown = SHOWN[filter.show] || SHOWN.all;
  return order.filter((index) => {
    const [id, kind] = data.rows[index];
    if (filter.kind && kind !== filter.kind) return false;
    if (!isShown(data.marks[0][index], data.marks[filter.side][index], data.same[filter.side][index])) return false;
    if (!words.length) return true;
    const note = notes && notes[id];
    const text = note ? texts[index] + "\n" + (note.tags + "\n" + note.note).toLowerCase() : texts[index];
    return words.every((word) => text.includes(word));
  });
}

// How many of some rows each of the filters would leave.
function countShown(data, side, indices) {
  const counts = { all: 0, lost: 0, won: 0, changed: 0, same: 0 };
  for (const index of indices) {
    for (const name in SHOWN) {
      counts[name] += SHOWN[name](data.marks[0][index], data.marks[side][index], data.same[side][index]) ? 1 : 0;
    }
  }
  return counts;
}

// The sides whose sums are shown where there are more than `most`: the original, the chosen one, then as in the file.
function sidesInSight(count, chosen, most) {
  const others = Array.from({ length: count }, (_, side) => side).filter((side) => side && side !== chosen);
  return new Set([0, chosen, ...others].slice(0, most));
}

const COLUMNS = ["id", "kind", "question", "expected", "original", "side", "margin", "tags"];

// How sure the answer of a side was: by how much its least sure token led the next likeliest; -1 where nobody knows.
const sureness = (data, index, side) => (data.margins.length ? data.margins[side][index] : -1);

// The same as the page writes it.
function marginOf(data, index, side) {
  const margin = sureness(data, index, side);
  return margin < 0 ? "" : writeMargin(margin);
}

// And as files do, to be computed with. Of equal length, so that they sort as the texts that they are.
function exactMargin(data, index, side) {
  const margin = sureness(data, index, side);
  return margin < 0 ? "" : margin.toFixed(3);
}

function cellOf(data, index, column, side, notes) {
  const at = COLUMNS.indexOf(column);
  if (at < 4) return data.rows[index][at];
  if (column === "original") return data.answers[0][index];
  if (column === "side") return data.answers[side][index];
  if (column === "margin") return marginOf(data, index, side);
  const note = notes && notes[data.rows[index][0]];
  return note ? note.tags : "";
}

// Numbers by value ("2" before "10"), texts by the alphabet; rows that are equal stay in the order of the file.
function sortRows(data, indices, column, isDescending, side, notes) {
  if (!column) return indices;
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const keyOf = (index) => (column === "margin" ? exactMargin(data, index, side) : cellOf(data, index, column, side, notes));
  const keys = new Map(indices.map((index) => [index, keyOf(index)]));
  const sign = isDescending ? -1 : 1;
  return [...indices].sort((a, b) => sign * collator.compare(keys.get(a), keys.get(b)) || a - b);
}

function markInWords(mark) {
  return mark === "1" ? "right" : mark === "0" ? "wrong" : "";
}

function recordOf(data, index, notes) {
  const [id, kind, question, expected] = data.rows[index];
  const note = (notes && notes[id]) || { tags: "", note: "" };
  const record = { id, kind, question, expected, tags: note.tags, note: note.note };
  data.sides.forEach((side, number) => {
    record[side] = data.answers[number][index];
    record[side + ", judged"] = markInWords(data.marks[number][index]);
    if (data.margins.length) record[side + ", margin"] = exactMargin(data, index, number);
  });
  return record;
}

// A cell that a spreadsheet would run as a formula begins with an apostrophe.
function csvCell(text) {
  const safe = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/.test(text) && !/^[+-]?[\d.]+$/.test(text) ? "'" + text : text;
  return /[",\n\r]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
}

function csvOf(data, indices, notes) {
  const records = indices.map((index) => recordOf(data, index, notes));
  const empty = { ...data, rows: [["", "", "", ""]], answers: data.sides.map(() => [""]), margins: data.margins.map(() => [-1]) };
  const names = Object.keys(recordOf(empty, 0, {}));
  const lines = [names, ...records.map((record) => names.map((name) => record[name]))];
  return lines.map((cells) => cells.map((cell) => csvCell(String(cell))).join(",")).join("\n") + "\n";
}

function jsonOf(data, indices, notes) {
  return JSON.stringify({ title: data.title, sides: data.sides, rows: indices.map((index) => recordOf(data, index, notes)) }, null, 1);
}

// "9 other sides: 4 right, 5 wrong": what the sides but the original and the chosen one answered to a question.
function othersInWords(data, index, side) {
  const marks = data.marks.map((of) => of[index]).filter((_, number) => number && number !== side);
  const among = (mark) => marks.filter((each) => each === mark).length;
  const judged = among("1") + among("0") ? ": " + among("1") + " right, " + among("0") + " wrong" : "";
  return marks.length + (marks.length === 1 ? " other side" : " other sides") + judged;
}

// "97.1 % (96.2 to 97.8), 971 of 1,000": a share with its 95 % interval.
function shareInWords(share) {
  if (!share.length) return "not known";
  const [right, count, low, high] = share;
  const percent = (value) => (100 * value).toFixed(1);
  return percent(right / count) + " % (" + percent(low) + " to " + percent(high) + "), " + writeCount(right) + " of " + writeCount(count);
}

if (typeof module !== "undefined") {
  module.exports = { COLUMNS, countShown, csvOf, exactMargin, filterRows, jsonOf, markInWords, othersInWords, recordOf, searchTexts, shareInWords, sidesInSight, sortRows };
}
