// The list of remembered comparisons, as pure functions. An entry: {id, at, name, pinned, text, link, picture, origin}.

const MOST = { entries: 30, characters: 4000000 }; // a browser keeps about five million for a tab

const sizeOf = (list) => list.reduce((sum, entry) => sum + entry.text.length, 0);

// The list with one more, and without the oldest that have no room: those that are not pinned go first. The same comparison
// once more is no other: it keeps its name and its pin.
function remember(list, entry, most = MOST) {
  const known = list.find((other) => other.text === entry.text);
  let next = [...list.filter((other) => other !== known), known ? { ...known, at: entry.at } : entry];
  while (next.length > 1 && (next.length > most.entries || sizeOf(next) > most.characters)) {
    const newest = next[next.length - 1], old = next.filter((other) => other !== newest);
    const gone = old.find((other) => !other.pinned) || old[0];
    next = next.filter((other) => other !== gone);
  }
  return next;
}

// As people read it: what is pinned first, and the newest before the older.
function inOrder(list) {
  return [...list].sort((a, b) => b.pinned - a.pinned || b.at - a.at);
}

function changed(list, id, change) {
  return list.map((entry) => (entry.id === id ? { ...entry, ...change } : entry));
}

if (typeof module !== "undefined" && module.exports) module.exports = { remember, inOrder, changed };
