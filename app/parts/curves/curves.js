const AREA = { width: 640, height: 280, left: 52, right: 12, top: 14, bottom: 40 }; // right: as wide as the names
const drawn = new Set(); // keys of the recipes that are ticked, kept when others come
const known = new Set();
const colours = new Map(); // of a key, the number of its colour: kept when others come, and when it goes and comes back

// A recipe that is drawn has the colour that it had, unless that was given away, or the first that is free.
function colourOf(curves) {
  const keys = curves.map(keyOf).filter((key) => drawn.has(key)), taken = new Map();
  for (const key of keys) if (colours.has(key) && !taken.has(colours.get(key))) taken.set(colours.get(key), key);
  for (const key of keys) {
    if (taken.get(colours.get(key)) === key) continue;
    let free = 0;
    while (taken.has(free)) free++;
    colours.set(key, free);
    taken.set(free, key);
  }
  return (curve) => styleOf(colours.get(keyOf(curve)));
}

const keyOf = (curve) => curve.group + "\n" + curve.name + "\n" + curve.file.length;
const percent = (share) => (100 * share).toFixed(1) + " %";

// What curves are called at their ends: with whose they are, where those that are drawn are several models'.
function namesOf(curves) {
  const isOfOne = new Set(curves.map((curve) => curve.group)).size < 2;
  return curves.map((curve) => (isOfOne ? curve.name : curve.name + ", " + curve.group.split(",")[0]));
}

const heightOf = (curve, tokens) => AREA.height - AREA.bottom - (AREA.height - AREA.top - AREA.bottom) * tokens / curve.total;

function stepsOf(curve) {
  const { width, left, right } = AREA, count = curve.left.length;
  const x = (layer) => (left + (width - left - right) * layer / count).toFixed(1);
  const y = (tokens) => heightOf(curve, tokens).toFixed(1);
  return "M" + x(0) + " " + y(curve.total) + curve.left.map((tokens, layer) => "H" + x(layer + 1) + "V" + y(tokens)).join("");
}

function paint(curves) {
  const styled = colourOf(curves);
  // In CSS pixels, so that words have the size of the page's.
  AREA.width = find("svg").clientWidth || AREA.width;
  const shown = curves.filter((curve) => drawn.has(keyOf(curve))), names = namesOf(shown);
  AREA.right = nameRoom(names, AREA.width);
  const { width, height, left, right, top, bottom } = AREA, picture = find("svg");
  picture.setAttribute("viewBox", "0 0 " + width + " " + height);
  picture.replaceChildren();
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const y = height - bottom - (height - top - bottom) * share;
    picture.append(makeSvg("line", { class: "rule", x1: left, x2: width - right, y1: y, y2: y }),
      makeSvg("text", { class: "tick end", x: left - 8, y: y + 4 }, 100 * share + " %"));
  }
  for (const [share, words, place] of [[0, "first layer", ""], [0.5, "half of the layers", " middle"], [1, "last layer", " end"]]) {
    picture.append(makeSvg("text", { class: "tick" + place, x: left + (width - left - right) * share, y: height - bottom + 20 }, words));
  }
  shown.forEach((curve) => {
    const line = makeSvg("path", { class: "step " + styled(curve), d: stepsOf(curve) });
    line.append(makeSvg("title", {}, curve.group + ", " + curve.name));
    picture.append(line);
  });
  const ends = shown.map((curve, at) => ({ name: names[at], style: styled(curve), x: width - right, y: heightOf(curve, curve.left[curve.left.length - 1]) }));
  nameLines(picture, ends, height - bottom, right);
  for (const line of element.querySelectorAll("tbody tr[data-at]")) {
    const curve = curves[line.dataset.at];
    line.querySelector(".swatch").className = "swatch" + (drawn.has(keyOf(curve)) ? " " + styled(curve) : "");
  }
}

function save(curve) {
  const name = (curve.group + "-" + curve.name).replace(/[^\w.-]+/g, "-").replace(/-+$/, "");
  saveFile(name + ".json", "application/json", curve.file);
}

new ResizeObserver(() => {
  if (props.value) paint(props.value.curves);
  tellMore();
}).observe(find("figure"));

function lineOf(curve, at, curves) {
  const line = make("tr");
  line.dataset.at = at;
  const tick = make("input"), label = make("label"), cell = make("td"), name = make("th", "", curve.name);
  tick.type = "checkbox";
  tick.checked = drawn.has(keyOf(curve));
  tick.setAttribute("aria-label", "Draw " + curve.group + ", " + curve.name);
  tick.addEventListener("change", () => {
    if (tick.checked) drawn.add(keyOf(curve)); else drawn.delete(keyOf(curve));
    paint(curves);
  });
  label.append(tick, make("span", "swatch"));
  cell.append(label);
  name.scope = "row";
  const uses = make("td", "uses"), title = curve.group + ", " + curve.name;
  const use = (words, label, work) => {
    const button = make("button", "", words);
    button.type = "button";
    button.setAttribute("aria-label", label);
    button.addEventListener("click", work);
    uses.append(button);
  };
  use("Download", "Save " + title + " as JSON", () => save(curve));
  if (curve.way) use("Compare", "Compare the original with " + title, () => {
    leaveFor("Recipes");
    trigger("open", { way: curve.way });
  });
  const last = curve.left[curve.left.length - 1];
  line.append(cell, name, uses, make("td", "", percent(curve.achieved)),
    make("td", "", curve.alpha === null ? "–" : curve.alpha.toPrecision(3)),
    make("td", "", writeCount(last) + " of " + writeCount(curve.total) + ", " + curve.left.length + " layers"), make("td", "", curve.about));
  return line;
}

onValue(({ curves }) => {
  for (const curve of curves) {
    if (curve.shown && !known.has(keyOf(curve))) drawn.add(keyOf(curve));
    known.add(keyOf(curve));
  }
  const lines = [];
  curves.forEach((curve, at) => {
    if (at === 0 || curves[at - 1].group !== curve.group) {
      const head = make("tr", "group"), cell = make("th", "", curve.group);
      cell.colSpan = 7;
      cell.scope = "colgroup";
      head.append(cell);
      lines.push(head);
    }
    lines.push(lineOf(curve, at, curves));
  });
  find("tbody").replaceChildren(...lines);
  paint(curves);
  tellMore();
});

// Whether columns go on beyond the right edge.
function tellMore() {
  const box = find(".list");
  box.dataset.more = String(box.scrollWidth - box.clientWidth - box.scrollLeft > 2);
}
find(".list").addEventListener("scroll", tellMore, { passive: true });
