const board = find(".board");
const body = find("tbody");
const HEROES = 2; // the first rows are what the page is about
const EMPTY = { idle: "", queued: "waiting for its turn", waiting: "waiting for the original", running: "…", done: "(empty answer)" };

// The rows are made once for their labels; after that only texts and lengths change, and nothing moves. Times that nobody
// measured have one row, as high as theirs.
function makeRows(rows) {
  body.replaceChildren(...rows.map((row, index) => {
    const line = make("tr", index < HEROES ? "hero" : "");
    const spine = make("th", "spine");
    spine.scope = "row";
    spine.setAttribute("role", "rowheader");
    const label = make("span", "label", row.label);
    label.append(infoButton(row.label, row.about));
    const ratio = make("span", "ratio");
    ratio.append(make("b"), make("span", "word"));
    const both = make("div");
    both.append(label, ratio);
    spine.append(both);
    line.append(cell("value left"), bar("left"), spine, bar("right"), cell("value right"));
    line.setAttribute("role", "row");
    return line;
  }));
}

// Roles are said, because a table that is laid out as a grid on a phone is none to a browser.
function cell(name) {
  const node = make("td", name);
  node.setAttribute("role", "cell");
  return node;
}

function bar(side) {
  const box = make("td", "bar " + side);
  box.setAttribute("aria-hidden", "true");
  const track = make("div");
  if (side === "right") track.append(make("i", "ghost")); // as long as the original's bar: what was saved shows
  track.append(make("i", "length"));
  box.append(track);
  return box;
}

function fillRow(line, row) {
  line.toggleAttribute("data-pending", row.pending);
  line.toggleAttribute("data-noted", Boolean(row.note));
  const blank = row.note ? "" : "–";
  setText(line.querySelector(".value.left"), row.original || blank);
  setText(line.querySelector(".value.right"), row.pruned || blank);
  setText(line.querySelector(".ratio b"), row.ratio || blank);
  setText(line.querySelector(".ratio .word"), row.note || row.word);
  line.querySelector(".fp-info").dataset.about = row.about;
  for (const bar of line.querySelectorAll(".bar.left .length, .ghost")) bar.style.width = 100 * row.original_share + "%";
  line.querySelector(".bar.right .length").style.width = 100 * row.pruned_share + "%";
}

// An answer by pieces, those that differ from the other answer marked; as it streams, one text. Of an empty one its end
// is a piece, too, beside the words that say so. Returns whether anything is new.
function fillAnswer(node, card) {
  const key = JSON.stringify(card.pieces);
  if (!card.pieces.length) {
    node.dataset.pieces = key;
    setText(node, card.answer || EMPTY[card.state]);
    return true;
  }
  if (node.dataset.pieces === key) return false;
  node.dataset.pieces = key;
  const pieces = card.pieces.map(([text, differs]) => make("span", "piece" + (differs ? " differs" : "") + (text ? "" : " end"), text));
  node.replaceChildren(...(isEmpty(card) ? [make("span", "nothing", EMPTY[card.state])] : []), ...pieces);
  return true;
}

// The first word that differs from the other answer's comes into sight, with a line above it, where it stands below.
function showDiffering(answer) {
  const piece = answer.querySelector(".piece.differs"), line = parseFloat(getComputedStyle(answer).lineHeight);
  const end = piece ? piece.offsetTop - answer.offsetTop + line : 0;
  answer.scrollTop = end > answer.clientHeight ? end - 2 * line : 0;
}

// The token that is looked at, or about to be: by a click, or by arrows and Enter on an answer that has the focus.
const chosen = { side: 0, index: -1 };
let later = null; // the token that is looked at once the times are measured: until then the model is busy
const isEmpty = (card) => !card.answer.trim();
const sideOf = (node) => (node.closest(".card").dataset.side === "original" ? 0 : 1);
const piecesOf = (side) => element.querySelectorAll(".card[data-side=" + (side ? "pruned" : "original") + "] .piece");

function choose(side, index) {
  for (const piece of element.querySelectorAll(".piece[aria-current]")) piece.removeAttribute("aria-current");
  Object.assign(chosen, { side, index });
  const piece = piecesOf(side)[index];
  if (piece) piece.setAttribute("aria-current", "true");
}

function look(side, index) {
  if (board.dataset.looks === "true") return trigger("look", { side, index });
  later = { side, index };
  const piece = piecesOf(side)[index];
  window.dispatchEvent(new CustomEvent("fitprune:later", { detail: piece ? piece.textContent.trim() : "" }));
}

const canChoose = () => ["true", "later"].includes(board.dataset.looks);

const grown = new ResizeObserver((changes) => changes.forEach(({ target }) => {
  if (target.closest(".card").dataset.state === "done") showDiffering(target); // of another width, it stands elsewhere
  tellFade(target);
}));
for (const answer of element.querySelectorAll(".answer")) {
  grown.observe(answer);
  answer.addEventListener("scroll", () => tellFade(answer), { passive: true });
  answer.addEventListener("click", (event) => {
    const piece = event.target.closest(".piece"), side = sideOf(answer);
    if (!piece || !canChoose()) return;
    choose(side, [...piecesOf(side)].indexOf(piece));
    look(chosen.side, chosen.index);
  });
  answer.addEventListener("keydown", (event) => {
    const side = sideOf(answer), count = piecesOf(side).length;
    if (!canChoose() || !count || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], at = chosen.side === side ? chosen.index : -1;
    if (step) choose(side, Math.min(Math.max(at + step, 0), count - 1));
    else if (event.key === "Enter" && at >= 0) look(side, at);
    else return;
    event.preventDefault();
  });
}
onPage(window, "fitprune:look", (event) => {
  if (event.detail) choose(event.detail.side, event.detail.index);
  else choose(0, -1);
});

// A word that stays out of the way of the answer, and behind it the sentence.
function fillDoubt(node, doubt) {
  if (node.dataset.doubt === doubt) return;
  node.dataset.doubt = doubt;
  node.replaceChildren(...(doubt ? [make("span", "", "? unsure"), infoButton("unsure", doubt)] : []));
}

function fillCard(side, card) {
  const node = find(".card[data-side=" + side + "]");
  node.dataset.state = card.state;
  const percent = card.percent === null || card.state === "idle" ? "" : card.percent + " %";
  setText(node.querySelector(".who"), card.name);
  setText(node.querySelector(".percent"), percent);
  setText(find("thead ." + side + "-name"), card.name + (percent && " " + percent));
  const answer = node.querySelector(".answer");
  const isNew = fillAnswer(answer, card);
  answer.classList.toggle("empty", isEmpty(card));
  answer.classList.toggle("long", card.answer.length > 70);
  fillDoubt(node.querySelector(".doubt"), card.doubt);
  setText(node.querySelector(".mark"), MARKS[card.mark] || "");
  node.querySelector(".mark").dataset.mark = card.mark;
  // Once the header has the lines that it needs; and whoever reads on is not sent back when the times arrive.
  if (card.state === "running") answer.scrollTop = answer.scrollHeight;
  else if (isNew) showDiffering(answer);
  tellFade(answer);
}

// What the page would ask now: only what has changed since it was loaded is known.
const now = {};
const words = (text) => String(text).trim().split(/\s+/).join(" ");
let stale = false;

// A result is that of its question, picture and budget: once one of them is another, it says whose it is.
function tellAge() {
  const value = props.value;
  const isResult = value && ["measuring", "done"].includes(value.state);
  const other = {
    question: "question" in now && isResult && words(now.question) !== words(value.question),
    picture: "picture" in now && isResult && now.picture !== value.picture,
    sides: "sides" in now && isResult && value.sides !== "" && now.sides !== value.sides,
    percent: "percent" in now && isResult && now.takesBudget !== false && now.percent !== value.percent,
  };
  stale = other.question || other.picture || other.percent || other.sides;
  board.dataset.stale = String(stale);
  const asked = isResult ? words(value.question) : "", short = asked.length > 60 ? asked.slice(0, 59) + "…" : asked;
  const whose = "This result is for " + (other.picture ? "the earlier picture, " : "") + "“" + short +
    "” at " + (isResult ? value.percent : 0) + " %" + (other.sides ? ", " + value.original.name + " and " + value.pruned.name : "") + ". Run to answer what is asked now.";
  setText(find(".age"), stale ? whose : "");
  window.dispatchEvent(new CustomEvent("fitprune:stale", { detail: stale }));
  const prunes = isResult && (value.original.percent !== null || value.pruned.percent !== null);
  const detail = Boolean(isResult && value.can_look && prunes && !other.picture);
  window.dispatchEvent(new CustomEvent("fitprune:paintable", { detail }));
}

// The address leads back to what is shown: reloading and sharing it do, as far as the server has the picture.
const LINKED = ["example", "scene", "question", "budget", "left", "right", "left_budget", "layer"];
function keepLink(link) {
  const address = new URL(location.href), asked = new URLSearchParams(link);
  for (const name of LINKED) {
    if (asked.has(name)) address.searchParams.set(name, asked.get(name));
    else if (name !== "layer" || !link) address.searchParams.delete(name);
  }
  if (address.href !== location.href) history.replaceState(history.state, "", address);
}

onPage(window, "fitprune:layer", (event) => {
  const address = new URL(location.href);
  if (!address.searchParams.has("question")) return;
  if (event.detail) address.searchParams.set("layer", event.detail); else address.searchParams.delete("layer");
  if (address.href !== location.href) history.replaceState(history.state, "", address);
});
onPage(window, "fitprune:asked", (event) => {
  Object.assign(now, event.detail);
  tellAge();
});
onPage(window, "fitprune:budget", (event) => {
  now.percent = event.detail;
  tellAge();
});
// Enter that is held down in the question asks once.
onPage(document, "keydown", (event) => {
  if (event.key !== "Enter" || !event.repeat || !event.target.closest("#question")) return;
  event.preventDefault();
  event.stopPropagation();
}, true);

onValue((value) => {
  if (body.children.length !== value.rows.length) makeRows(value.rows);
  board.dataset.state = value.state;
  board.dataset.verdict = value.verdict;
  board.dataset.looks = value.state === "measuring" ? "later" : String(value.can_look);
  value.rows.forEach((row, index) => fillRow(body.children[index], row));
  fillCard("original", value.original);
  fillCard("pruned", value.pruned);
  const verdicts = { same: "Same answer", different: "Different answers" };
  const waiting = value.original.state === "queued" ? "In line" : value.state === "running" ? "Answering" : "No run yet";
  const areEmpty = value.verdict === "same" && isEmpty(value.original) && isEmpty(value.pruned);
  setText(find(".verdict .word"), areEmpty ? "Both are empty" : verdicts[value.verdict] || waiting);
  setText(find(".truth"), value.truth);
  const hint = value.state === "running" ? "Both runs use the same weights, one after the other."
    : "Press Run, or R, to answer in both ways, one after the other.";
  setText(find(".sentence"), value.sentence || hint);
  const stop = document.querySelector("#stop");
  if (stop) stop.disabled = !["running", "measuring"].includes(value.state);
  tellAge();
  if (value.state === "done") keepLink(value.link);
  window.dispatchEvent(new CustomEvent("fitprune:state", { detail: value.state }));
  tellShown({ board: value });
  if (value.can_look && later) {
    choose(later.side, later.index);
    look(later.side, later.index);
  }
  if (value.state !== "measuring") later = null;
});
