// What plots of several lines share: whose line has which colour, and a name at its end. Pure but for the last.

// Of the other methods' lines, in their order; the sixth colour is close to the original's grey, and comes last.
const OTHERS = ["c1", "c2", "c3", "c4", "c1 dashed", "c2 dashed", "c3 dashed", "c4 dashed", "c5", "c5 dashed"];

// The class of each method's line: FitPrune has one colour on every page, the original is grey, the others follow.
function stylesOf(methods) {
  let others = 0;
  return new Map([...new Set(methods)].map((method) => {
    if (method === "original") return [method, "c-first"];
    if (method === "fitprune") return [method, "c0"];
    return [method, OTHERS[others++ % OTHERS.length]];
  }));
}

const NAME_LINE = 15; // pixels between two names below each other
const LEADER = 14; // from the end of a line to its name

// Where names stand that want to be at some places: no two closer than `gap`, none below `bottom`.
function placeNames(places, gap, bottom) {
  const order = places.map((_, at) => at).sort((a, b) => places[a] - places[b]), placed = [...places];
  let last = -Infinity;
  for (const at of order) last = placed[at] = Math.max(places[at], last + gap);
  let next = bottom + gap;
  for (const at of order.reverse()) next = placed[at] = Math.min(placed[at], next - gap);
  return placed;
}

// Pixels that names need at the right of a plot of some width.
const nameRoom = (names, width) => Math.min(0.4 * width, LEADER + 10 + 7 * Math.max(0, ...names.map((name) => name.length)));

// Write each line's name where it ends, led to where others are in the way, and cut where there is no room. ends:
// [{ name, style, x, y }].
function nameLines(svg, ends, bottom, room) {
  const places = placeNames(ends.map(({ y }) => y), NAME_LINE, bottom), most = Math.floor((room - LEADER - 4) / 7);
  ends.forEach(({ name, style, x, y }, at) => {
    const words = name.length > most ? name.slice(0, most - 1) + "…" : name;
    const text = makeSvg("text", { class: "name", x: x + LEADER + 4, y: places[at] + 4 }, words);
    text.append(makeSvg("title", {}, name));
    svg.append(makeSvg("path", { class: "leader " + style, d: "M" + (x + 2) + " " + y + "L" + (x + LEADER) + " " + places[at] }), text);
  });
}

if (typeof module !== "undefined") module.exports = { placeNames, stylesOf };
