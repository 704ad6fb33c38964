// Where two answers differ, and what of one is shown in a cell: the place where it leaves the other. Pure: texts in and out.
// Shared by the grid of Sweep and the table of Inspect.

const ROOM = { before: 3, short: 56 }; // words of the answer before the first that differs; characters that a cell shows whole
const MOST_COMPARED = 1_000_000; // pairs of words; beyond, answers are compared place by place

const keyOfWord = (word) => word.toLowerCase().replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "");

// Compare marks every word that the other answer lacks. A cell has room for one place, and there is one also where words are
// missing.

// The place of the first word that the original's answer does not have there; -1 where all are the same. One place behind
// the last word where the answer ends before the original's does.
function firstDifference(words, originals) {
  for (let at = 0; at < Math.max(words.length, originals.length); at++) {
    if (at >= words.length || at >= originals.length || keyOfWord(words[at]) !== keyOfWord(originals[at])) return at;
  }
  return -1;
}

// For each word of an answer whether the other one lacks it in its place, as app/showing/differing.py tells it: by the longest
// run of words that both have in this order.
function differingWords(words, others) {
  const mine = words.map(keyOfWord), theirs = others.map(keyOfWord);
  if (mine.length * theirs.length > MOST_COMPARED) return mine.map((word, at) => word !== theirs[at]);
  const width = theirs.length + 1, common = new Uint32Array((mine.length + 1) * width); // of what is left from here on
  for (let row = mine.length - 1; row >= 0; row--) {
    for (let column = theirs.length - 1; column >= 0; column--) {
      const here = row * width + column;
      common[here] = mine[row] === theirs[column] ? common[here + width + 1] + 1 : Math.max(common[here + width], common[here + 1]);
    }
  }
  const differs = mine.map(() => true);
  for (let row = 0, column = 0; row < mine.length && column < theirs.length;) {
    const here = row * width + column;
    if (mine[row] === theirs[column]) { differs[row] = false; row++; column++; }
    else if (common[here + width] >= common[here + 1]) row++;
    else column++;
  }
  return differs;
}

const wordsOf = (text) => text.split(/\s+/).filter(Boolean);

// An answer in pieces, [{ text, differs }]: words with the spaces before them, those beside each other that differ in one.
function piecesOf(answer, other) {
  const words = answer.match(/\s*\S+\s*$|\s*\S+/g) || [], differs = differingWords(wordsOf(answer), wordsOf(other));
  const pieces = [];
  words.forEach((text, at) => {
    if (at && differs[at] === differs[at - 1]) pieces[pieces.length - 1].text += text;
    else pieces.push({ text, differs: differs[at] });
  });
  return pieces;
}

// An answer in three parts, { before, differs, after }: the second is the first word that differs, or says that it ends. Of
// a long answer, unless isWhole, the words far before that are left out.
function excerptOf(answer, original, isWhole, room = ROOM) {
  const words = wordsOf(answer), at = firstDifference(words, wordsOf(original));
  if (at < 0 || !words.length) return { before: answer, differs: "", after: "" };
  const kept = at < words.length ? room.before : ROOM.before; // an end alone says nothing
  const isCut = !isWhole && answer.length > room.short && at > kept + 1;
  const before = (isCut ? "… " : "") + words.slice(isCut ? at - kept : 0, at).map((word) => word + " ").join("");
  const differs = at < words.length ? words[at] : "(ends here)";
  return { before, differs, after: words.slice(at + 1).map((word) => " " + word).join("") };
}

if (typeof module !== "undefined") module.exports = { differingWords, excerptOf, piecesOf };
