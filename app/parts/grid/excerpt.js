// What of an answer is shown in a cell: the place where it leaves the original's. Pure: texts in and out.

const WORDS_BEFORE = 3; // of the answer, before the first that differs
const SHORT = 56; // characters that a cell shows whole

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

// An answer in three parts, { before, differs, after }: the second is the first word that differs, or says that it ends. Of
// a long answer, unless isWhole, the words far before that are left out.
function excerptOf(answer, original, isWhole) {
  const words = answer.split(/\s+/).filter(Boolean), originals = original.split(/\s+/).filter(Boolean);
  const at = firstDifference(words, originals);
  if (at < 0 || !words.length) return { before: answer, differs: "", after: "" };
  const isCut = !isWhole && answer.length > SHORT && at > WORDS_BEFORE + 1;
  const before = (isCut ? "… " : "") + words.slice(isCut ? at - WORDS_BEFORE : 0, at).map((word) => word + " ").join("");
  const differs = at < words.length ? words[at] : "(ends here)";
  return { before, differs, after: words.slice(at + 1).map((word) => " " + word).join("") };
}

if (typeof module !== "undefined") module.exports = { excerptOf, firstDifference };
