const ROW = 34; // pixels; the style sheet says the same
const MOST_SUMS = 4; // sides whose sums are shown until all are asked for
const SPARE = 8; // rows drawn above and below what is seen
const PAUSE = 120; // milliseconds between two pictures that are asked for; of rows in between only the last has its own
const CELL = { before: 0, short: 22 }; // see excerpt.js: a cell of this table is narrow
const LABELS = { all: "All", lost: "Right → wrong", won: "Wrong → right", changed: "Changed", same: "Same" };
const HEADS = { id: "#", kind: "Kind", question: "Question", expected: "Right answer", original: "Original", side: "", margin: "Margin", tags: "Tags" };
const root = find(".inspect"), scroller = find(".scroll");
const at = { side: 1, show: "all", kind: "", text: "", column: "", isDescending: false, rows: [], chosen: -1, look: 0, looked: 0, notes: {}, hasAllSums: false };
let data = null;

// Tags and notes belong to the file, and stay in this browser.
const notesKey = () => "fitprune:notes:" + data.fingerprint;
function loadNotes() {
  // Without what every object has: an id may be "constructor".
  try { return Object.assign(Object.create(null), JSON.parse(localStorage.getItem(notesKey()))); } catch (error) { return Object.create(null); }
}
function keepNote(id, note) {
  at.notes = loadNotes(); // another tab may have written since
  if (note.tags || note.note) at.notes[id] = note; else delete at.notes[id];
  try { localStorage.setItem(notesKey(), JSON.stringify(at.notes)); } catch (error) { setText(find(".count"), "This browser keeps no notes."); }
}

// What depends on some of what was chosen is made again when that changes: a letter typed into the filter sorts nothing.
const made = {};
function once(name, key, make) {
  if (!made[name] || made[name].key !== key) made[name] = { key, value: make() };
  return made[name].value;
}

// All rows as they are sorted, those of equal cells in the order of the file.
function sorted() {
  const key = [at.column, at.isDescending, at.side, at.column === "tags" && JSON.stringify(at.notes)].join();
  return once("order", key, () => sortRows(data, data.rows.map((_, index) => index), at.column, at.isDescending, at.side, at.notes));
}

function refresh() {
  const texts = once("texts", at.side, () => searchTexts(data, at.side));
  const among = filterRows(data, { ...at, show: "all" }, at.notes, sorted(), texts);
  const counts = countShown(data, at.side, among);
  at.rows = at.show === "all" ? among : filterRows(data, { ...at, kind: "", text: "" }, at.notes, among, texts);
  for (const button of root.querySelectorAll(".shows button")) {
    setText(button.querySelector("b"), writeCount(counts[button.dataset.show]));
    button.setAttribute("aria-pressed", String(button.dataset.show === at.show));
  }
  setText(find(".count"), writeCount(at.rows.length) + " of " + writeCount(data.rows.length) + " questions");
  find(".sheet").dataset.rows = at.rows.length ? "some" : "none";
  find(".tall").style.height = at.rows.length * ROW + "px";
  scroller.scrollTop = 0;
  for (const head of root.querySelectorAll(".head button")) {
    const mine = head.dataset.column === at.column;
    head.parentNode.setAttribute("aria-sort", mine ? (at.isDescending ? "descending" : "ascending") : "none");
  }
  paintWindow();
  choose(at.rows.length ? 0 : -1);
  once("sums", [at.side, at.hasAllSums, at.kind].join(), paintSums);
}

function paintWindow() {
  const first = Math.max(0, Math.floor(scroller.scrollTop / ROW) - SPARE);
  const last = Math.min(at.rows.length, Math.ceil((scroller.scrollTop + scroller.clientHeight) / ROW) + SPARE);
  find(".window").style.transform = "translateY(" + first * ROW + "px)";
  find(".window").replaceChildren(...at.rows.slice(first, last).map((index, offset) => lineOf(index, first + offset)));
}

function lineOf(index, place) {
  const line = make("div", "line");
  line.setAttribute("role", "row");
  line.setAttribute("aria-rowindex", String(place + 2));
  line.dataset.place = place;
  for (const column of COLUMNS) {
    const isAnswer = column === "original" || column === "side";
    const cell = isAnswer ? answerCell(index, column === "side") : make("span", "", cellOf(data, index, column, at.side, at.notes));
    cell.className = "c-" + column;
    cell.setAttribute("role", "cell");
    line.append(cell);
  }
  mark(line);
  return line;
}

// An answer from where the original's and the chosen side's part, the first word that does in bold.
function answerCell(index, isSide) {
  const number = isSide ? at.side : 0, other = isSide ? 0 : at.side, cell = make("span");
  cell.dataset.mark = data.marks[number][index];
  const answer = data.answers[number][index];
  cell.title = answer;
  if (data.same[at.side][index] !== "0") {
    cell.textContent = answer;
    return cell;
  }
  const { before, differs, after } = excerptOf(answer, data.answers[other][index], false, CELL);
  cell.append(before, make("b", "", differs), after);
  return cell;
}

function mark(line) {
  const isChosen = Number(line.dataset.place) === at.chosen;
  line.classList.toggle("chosen", isChosen);
  line.setAttribute("aria-selected", String(isChosen));
}

function choose(place) {
  at.chosen = place;
  root.dataset.chosen = place >= 0 ? "yes" : "no";
  root.querySelectorAll(".line").forEach(mark);
  if (place < 0) return;
  const top = place * ROW;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  if (top + ROW > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + ROW - scroller.clientHeight;
  const index = at.rows[place], [id, kind, question, expected] = data.rows[index];
  setText(find(".place"), "Row " + writeCount(place + 1) + " of " + writeCount(at.rows.length) + (kind ? " · " + kind : "") + " · " + id);
  setText(find(".row-detail .question"), question || "(the file does not say what was asked)");
  paintAnswers(index, expected);
  const note = at.notes[id] || { tags: "", note: "" };
  find(".notes .tags").value = note.tags;
  find(".notes .note").value = note.note;
  find(".previous").disabled = place === 0;
  find(".next").disabled = place === at.rows.length - 1;
  if (!data.has_pictures) return;
  find(".picture").dataset.waits = "yes"; // what is there is another row's
  look(index);
}

// The right answer, the original's and the chosen side's, what differs between those two underlined; then the other sides.
function paintAnswers(index, expected) {
  const right = make("div", "truth");
  right.append(make("dt", "", "Right answer"), make("dd", "", expected));
  find(".answers").replaceChildren(...(expected ? [right] : []), answerOf(index, 0, at.side), answerOf(index, at.side, 0));
  const others = data.sides.map((_, number) => number).filter((number) => number && number !== at.side);
  find(".others").hidden = !others.length;
  setText(find(".others summary"), othersInWords(data, index, at.side));
  find(".others dl").replaceChildren(...others.map((number) => answerOf(index, number, 0)));
}

// What a side answered, and how it differs from what another one did.
function answerOf(index, number, other) {
  const said = make("dd"), mark = data.marks[number][index], margin = marginOf(data, index, number);
  const answer = data.answers[number][index];
  said.dataset.mark = mark;
  for (const { text, differs } of piecesOf(answer, data.answers[other][index])) {
    const word = text.trimStart();
    said.append(text.slice(0, text.length - word.length), differs ? make("u", "", word) : word);
  }
  if (!answer) said.append("(empty)");
  const about = [markInWords(mark), margin ? "margin " + margin : ""].filter(Boolean).join(", ");
  if (about) said.append(make("span", "judged", " " + about));
  const entry = make("div", number === at.side ? "chosen" : "");
  entry.append(make("dt", "", number ? data.sides[number] : "Original"), said);
  return entry;
}

function look(index) {
  clearTimeout(at.look);
  at.look = setTimeout(() => {
    at.looked = performance.now();
    trigger("look", { index });
  }, Math.max(0, at.looked + PAUSE - performance.now()));
}

function step(by) {
  if (at.rows.length) choose(Math.min(Math.max(at.chosen + by, 0), at.rows.length - 1));
}

function openChosen() {
  if (at.chosen < 0 || !data.has_pictures) return;
  leaveFor("Inspect");
  trigger("open", { index: at.rows[at.chosen], side: at.side });
}

function paintSums() {
  const sums = data.sums[at.kind] || data.sums[""] || [];
  setText(find(".sums caption"), data.title + ": " + (at.kind ? "questions of kind “" + at.kind + "”" : "all questions"));
  const inSight = sidesInSight(sums.length, at.side, at.hasAllSums ? sums.length : MOST_SUMS);
  find(".sums tbody").replaceChildren(...sums.map(sumOf));
  [...find(".sums tbody").children].forEach((line, side) => { line.hidden = !inSight.has(side); });
  const all = find(".all-sums");
  all.hidden = sums.length <= MOST_SUMS;
  setText(all, at.hasAllSums ? "Fewer sides" : "All " + sums.length + " sides");
  all.setAttribute("aria-expanded", String(at.hasAllSums));
  paintPlot(find(".plot"), data.sides, sums, at.side);
}

// A text whose lines end after a comma, or before "(4; 6 are needed)".
function inParts(text) {
  const parts = text.replace(/, | (?=\(\d+; )/g, (gap) => gap.trim() + "\n").split("\n"), whole = make("span");
  whole.append(...parts.flatMap((part, at) => [at ? " " : "", make("span", "whole", part)]));
  return whole;
}

// A side's line of the sums. Where it is narrow each cell stands below the other, behind the head of its column.
function sumOf(sum, side) {
  const line = make("tr", side === at.side ? "chosen" : ""), name = make("th", "", data.sides[side]);
  name.prepend(make("span", "swatch " + stylesOf(methodsOf(data.sides)).get(methodOf(data.sides[side]))));
  if (data.placed[side]) name.append(make("span", "placed", data.placed[side]));
  line.setAttribute("role", "row");
  name.scope = "row";
  name.setAttribute("role", "rowheader");
  const heads = [...root.querySelectorAll(".sums thead th")].slice(1);
  const said = [shareInWords(sum.right), side ? shareInWords(sum.same) : "", sum.against, sum.gflops === null ? "" : writeGflops(sum.gflops)];
  line.append(name, ...said.map((text, number) => {
    const cell = make("td");
    if (text) cell.append(inParts(text));
    cell.setAttribute("role", "cell");
    cell.dataset.head = heads[number].textContent;
    return cell;
  }));
  return line;
}

function options(select, entries, value) {
  select.replaceChildren(...entries.map(([key, text]) => {
    const option = make("option", "", text);
    option.value = key;
    return option;
  }));
  select.value = value;
}

function download(kind) {
  if (!at.rows.length) return;
  const about = find(".count").textContent + ", " + data.sides[at.side] + ": " + LABELS[at.show] + ". CSV and JSON hold all sides.";
  const made = { csv: () => csvOf(data, at.rows, at.notes), json: () => jsonOf(data, at.rows, at.notes),
    html: () => htmlOf(data, at.rows, at.side, at.notes, about) }[kind]();
  const types = { csv: "text/csv", json: "application/json", html: "text/html" };
  saveFile("fitprune-answers." + kind, types[kind], made);
}

find(".shows").append(...Object.keys(LABELS).map((show) => {
  const button = make("button", "", LABELS[show] + " ");
  button.type = "button";
  button.dataset.show = show;
  button.append(make("b"));
  button.addEventListener("click", () => { at.show = show; refresh(); });
  return button;
}));
find(".head").append(...COLUMNS.map((column) => {
  const cell = make("span", "c-" + column), button = make("button", "", HEADS[column]);
  cell.setAttribute("role", "columnheader");
  button.type = "button";
  button.dataset.column = column;
  button.addEventListener("click", () => {
    at.isDescending = at.column === column && !at.isDescending;
    at.column = column;
    refresh();
  });
  if (column === "margin") button.title = "By how much the likeliest token led the next, where the answer was least sure: 0 to 1";
  cell.append(button);
  return cell;
}));
find(".tools .side").addEventListener("change", (event) => {
  at.side = Number(event.target.value);
  setText(find(".head .c-side button"), data.sides[at.side]);
  refresh();
});
find(".tools .kind").addEventListener("change", (event) => { at.kind = event.target.value; refresh(); });
find(".show-all").addEventListener("click", () => {
  Object.assign(at, { show: "all", kind: "", text: "" });
  find(".tools .kind").value = find(".tools .text").value = "";
  refresh();
});
find(".tools .text").addEventListener("input", (event) => { at.text = event.target.value; refresh(); });
find(".window").addEventListener("click", (event) => {
  const line = event.target.closest(".line");
  if (line) choose(Number(line.dataset.place));
});
find(".window").addEventListener("dblclick", openChosen);
scroller.addEventListener("scroll", paintWindow);
scroller.addEventListener("keydown", (event) => {
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
  if (event.key in steps) step(steps[event.key]); else if (event.key === "Enter") openChosen(); else return;
  event.preventDefault();
});
find(".previous").addEventListener("click", () => step(-1));
find(".next").addEventListener("click", () => step(1));
find(".open").addEventListener("click", openChosen);
for (const name of ["tags", "note"]) {
  find(".notes ." + name).addEventListener("change", () => {
    keepNote(data.rows[at.rows[at.chosen]][0], { tags: find(".notes .tags").value.trim(), note: find(".notes .note").value.trim() });
    // The line stays: this comes between the press and the release of a click on another one.
    const tags = root.querySelector(".line.chosen .c-tags");
    if (tags) setText(tags, cellOf(data, at.rows[at.chosen], "tags", at.side, at.notes));
  });
}
for (const button of root.querySelectorAll("[data-export]")) button.addEventListener("click", () => download(button.dataset.export));
find(".all-sums").addEventListener("click", () => {
  at.hasAllSums = !at.hasAllSums;
  once("sums", [at.side, at.hasAllSums, at.kind].join(), paintSums);
});
new ResizeObserver(() => { if (data) paintWindow(); }).observe(scroller);

// Whether columns follow to the right of what is seen.
const sheet = find(".sheet");
const fade = () => sheet.classList.toggle("more", sheet.scrollWidth - sheet.clientWidth - sheet.scrollLeft > 4);
sheet.addEventListener("scroll", fade);
new ResizeObserver(fade).observe(sheet);

// The picture of the row comes by itself, after the row.
onPage(window, "fitprune:row-picture", (event) => {
  const { url, index } = event.detail, holder = find(".picture"), image = holder.firstElementChild || make("img");
  if (index !== at.rows[at.chosen]) return; // another row is looked at by now
  delete holder.dataset.waits;
  holder.hidden = !url;
  if (!url) return holder.replaceChildren();
  image.alt = "Picture of the row";
  image.src = url;
  if (!image.isConnected) holder.append(image);
});

// On a phone rows come first, and the sums when they are asked for; elsewhere they are always open.
const isPhone = () => root.clientWidth > 0 && root.clientWidth <= 560;
new ResizeObserver(() => { if (root.clientWidth > 560) find(".totals").open = true; }).observe(root);

// What was waited for is seen, wherever the page was scrolled meanwhile; not from another page of the app.
function bringIntoView() {
  const top = root.getBoundingClientRect().top;
  const isSeen = !root.getClientRects().length || (top >= 0 && top < innerHeight / 2);
  if (!isSeen) (root.closest(".page-results") || root).scrollIntoView({ block: "start" });
}

onValue((value) => {
  if (data && value.fingerprint === data.fingerprint && value.title === data.title) return;
  data = value;
  for (const name in made) delete made[name];
  root.dataset.state = value.rows.length ? "full" : "empty";
  Object.assign(at, { rows: [], chosen: -1, hasAllSums: false });
  if (!value.rows.length) return;
  Object.assign(at, { side: value.side || Math.min(1, value.sides.length - 1), show: value.show, kind: "", text: "", column: "", isDescending: false });
  at.notes = loadNotes();
  root.dataset.pictures = value.has_pictures ? "yes" : "no";
  root.dataset.margins = value.margins.length ? "yes" : "no";
  options(find(".tools .side"), value.sides.map((side, number) => [String(number), side]).slice(1), String(at.side));
  setText(find(".head .c-side button"), value.sides[at.side]);
  const kinds = Object.keys(value.sums).filter(Boolean);
  options(find(".tools .kind"), [["", "all"], ...kinds.map((kind) => [kind, kind])], "");
  find(".tools .text").value = "";
  find(".totals").open = !isPhone();
  refresh();
  fade();
  bringIntoView();
});
