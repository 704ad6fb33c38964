// How counts and margins are written, on every page alike. Shared by every component, as shared.js is.

// "1,368".
function writeCount(count) {
  return count.toLocaleString("en");
}

// "0.42": how much likelier an answer's least sure token was than the next likeliest, 0 to 1.
function writeMargin(margin) {
  return margin.toFixed(2);
}

if (typeof module !== "undefined") module.exports = { writeCount, writeMargin };
