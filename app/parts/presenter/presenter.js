const hall = find(".hall"), stage = find(".stage"), words = find(".words"), keys = find(".keys");
const BEAT = 420; // milliseconds a layer while playing
const HINT = 5000; // milliseconds that the keys are told
const SIZES = [6.4, 5.4, 4.6, 4, 3.6, 3, 2.6]; // of the answers, in hundredths of the height: the largest that fits
const VERDICTS = { same: "= Same answer", different: "≠ Different answers" };
const BUSY = { queued: "In line…", running: "Answering…", measuring: "Measuring…" };
const WAITING = { queued: "waits for its turn", waiting: "comes second", running: "…", done: "(empty answer)" };

const at = {
  board: null, traces: [], pictures: [], layer: 0, timer: 0, hint: 0, example: -1, scrolled: 0,
  isFull: false, // whether this presentation fills the screen, so that the end of that is its own end
  ending: null, // the promise of full screen that ends
  focused: document.body, // what had the focus before
};

const tooHigh = () => words.scrollHeight - words.clientHeight;

// Figures and layer stay in sight: what does not fit in the smallest size is scrolled within the answer, from the first
// word that differs. An answer shorter than half of the room for both keeps its height.
function fit() {
  const answers = [...hall.querySelectorAll(".answer")];
  words.dataset.tight = "false";
  for (const answer of answers) answer.dataset.scrolls = "false";
  for (const size of SIZES) {
    words.style.setProperty("--text", size + "vh");
    if (tooHigh() <= 0) return;
  }
  words.dataset.tight = "true";
  if (tooHigh() <= 0) return;
  const heights = answers.map((answer) => answer.offsetHeight), room = heights[0] + heights[1] - tooHigh();
  answers.forEach((answer, side) => { answer.dataset.scrolls = String(heights[side] > room / 2); });
  for (const text of hall.querySelectorAll("[data-scrolls=true] .text")) {
    const piece = text.querySelector(".differs"), line = parseFloat(getComputedStyle(text).lineHeight);
    text.scrollTop = piece ? Math.max(0, piece.offsetTop - text.offsetTop - line) : 0;
    tellFade(text);
  }
}

// As on the page: only the words that differ are marked.
function fillText(node, card) {
  const key = JSON.stringify([card.answer, card.state, card.pieces]);
  if (node.dataset.shows === key) return;
  node.dataset.shows = key;
  if (card.answer.trim() && card.pieces.length) {
    node.replaceChildren(...card.pieces.map(([text, differs]) => (differs ? make("span", "differs", text) : text)));
  } else setText(node, card.answer.trim() || WAITING[card.state] || "");
}

// A long true answer that stands there already, as that of the side that is right, is not said again.
function truthOf(board) {
  const isThere = [board.original, board.pruned].some((card) => card.mark === "right" && card.answer.length > 40);
  return isThere ? board.truth.replace(/: it is “.*$/s, ".") : board.truth;
}

function show() {
  const { board } = at;
  if (!board || !hall.open) return;
  const isRunning = ["running", "queued"].includes(board.state) || !board.question;
  const asked = document.querySelector("#question textarea");
  hall.dataset.state = board.state;
  hall.dataset.verdict = board.verdict;
  setText(find(".question"), isRunning && asked ? asked.value : board.question);
  for (const side of ["original", "pruned"]) {
    const card = board[side], node = find(".answer[data-side=" + side + "]");
    setText(node.querySelector(".who"), card.name + (card.percent === null ? "" : " " + card.percent + " %"));
    setText(node.querySelector(".mark"), MARKS[card.mark] || "");
    node.querySelector(".mark").dataset.mark = card.mark;
    fillText(node.querySelector(".text"), card);
  }
  setText(find(".said"), isRunning ? "" : VERDICTS[board.verdict] || "");
  setText(find(".busy"), BUSY[board.original.state === "queued" ? "queued" : board.state] || "");
  setText(find(".truth"), truthOf(board));
  setText(find(".model"), board.model && "Answered by " + board.model);
  const [flops, whole] = board.rows;
  setText(find(".ratio"), flops.ratio || "–");
  setText(find(".what"), flops.label.replace(/^V/, "v"));
  setText(find(".whole"), whole.ratio ? whole.ratio + " FLOPs of the whole request" : "");
  const wrong = document.querySelector("#notice [role=alert]");
  setText(find(".wrong"), wrong ? wrong.textContent : "");
  fit();
}

function paint() {
  if (!hall.open) return;
  const select = document.querySelector("#scrubber .views");
  at.traces.forEach((trace, side) => {
    const canvas = find(".pictures").children[side], picture = at.pictures[side], views = viewsOf(trace);
    const view = select && views.includes(select.value) ? select.value : views[0];
    if (!picture.naturalWidth || !sizeCanvas(canvas, canvas.clientWidth, canvas.clientHeight)) return;
    paintPicture(canvas, trace, picture, { layer: at.layer, mode: "patches", view, tokens: tokensOf(trace, view), marked: -1 });
  });
  find(".here").style.visibility = at.traces.some((trace) => droppedAt(trace, at.layer) > 0) ? "visible" : "hidden";
  const kept = at.traces.map((trace) => writeCount(trace.tokens[at.layer])).join(" and ");
  const [trace] = at.traces;
  setText(find(".layer"), trace ? "Layer " + (at.layer + 1) + " of " + trace.layers + ": " + kept + " of " + writeCount(trace.boxes.length) + " " + unitOf(trace) + " kept" : "");
}

function goTo(layer) {
  if (!at.traces.length) return;
  at.layer = Math.min(Math.max(0, layer), at.traces[0].layers - 1);
  paint();
}

function play(on) {
  clearInterval(at.timer);
  at.timer = 0;
  if (!on || !at.traces.length) return;
  const last = at.traces[0].layers - 1;
  if (at.layer >= last) goTo(0);
  at.timer = setInterval(() => {
    goTo(at.layer + 1);
    if (at.layer >= last || !hall.open) play(false);
  }, BEAT);
}

// A new result begins with its last layer, as on the page; the first side stands left.
function take() {
  const { board, trace } = window.fpShown || {};
  at.board = board;
  if (trace && trace !== at.trace) {
    play(false);
    at.trace = trace;
    at.traces = tracesOf(trace).reverse();
    at.pictures = at.traces.map(() => Object.assign(new Image(), { onload: paint, src: trace.image }));
    find(".pictures").replaceChildren(...at.traces.map(() => document.createElement("canvas")));
    at.layer = trace.layers - 1;
  }
  show();
  paint();
}

// The examples, and whatever else stands beside them to be chosen.
function choose(index) {
  const choices = [...document.querySelectorAll(".picker button")];
  if (!choices.length) return;
  at.example = (index + choices.length) % choices.length;
  choices[at.example].click();
}

// The area of the page at once, the screen when the browser grants it.
function enter() {
  if (hall.open) return;
  at.scrolled = scrollY;
  // Where the last presentation's full screen has not ended yet, the focus is still in the hall.
  if (!hall.contains(document.activeElement)) at.focused = document.activeElement;
  const asked = new URLSearchParams(location.search).get("example"), scrubber = document.querySelector(".scrubber");
  if (asked !== null) at.example = Number(asked);
  take();
  hall.showModal();
  words.focus();
  at.layer = scrubber && scrubber.dataset.layer ? scrubber.dataset.layer - 1 : at.layer;
  hint();
  show();
  paint();
  fill();
}

// In a frame that may not, full screen is refused; what is still ending would end it, and may take its time. What fills the
// screen stands inside the dialog, so that it lies over it.
async function fill() {
  await at.ending;
  if (!hall.open) return;
  try { await stage.requestFullscreen(); } catch { return; }
  at.isFull = hall.open;
  if (!hall.open) end();
}

function end() {
  if (document.fullscreenElement !== stage) return;
  // Until then nothing outside of it takes the focus.
  at.ending = document.exitFullscreen().catch(() => {}).then(() => { if (!hall.open) at.focused.focus(); });
}

// The keys are told at first, and again to whoever moves the pointer or taps.
function hint() {
  keys.classList.remove("past");
  clearTimeout(at.hint);
  at.hint = setTimeout(() => keys.classList.add("past"), HINT);
}

function leave() {
  play(false);
  at.isFull = false;
  if (hall.open) hall.close();
  end();
  at.focused.focus();
  scrollTo(scrollX, at.scrolled);
}

find(".opener").addEventListener("click", enter);
find(".leave").addEventListener("click", leave);
find(".go").addEventListener("click", () => document.querySelector("#run").click());
for (const text of hall.querySelectorAll(".text")) text.addEventListener("scroll", () => tellFade(text), { passive: true });
const chooseBeside = (step) => choose(at.example < 0 && step < 0 ? -1 : at.example + step);
find(".before").addEventListener("click", () => chooseBeside(-1));
find(".next").addEventListener("click", () => chooseBeside(1));
// By touch, and by a pointer that sends clicks: the left half goes back a layer, the right half on.
stage.addEventListener("click", (event) => {
  if (event.target.closest(".keys") || String(getSelection())) return;
  play(false);
  goTo(at.layer + (event.clientX < innerWidth / 2 ? -1 : 1));
});
hall.addEventListener("pointermove", hint);
hall.addEventListener("pointerdown", hint);
hall.addEventListener("close", () => { if (!hall.open) leave(); }); // it comes late: the hall may be open again
hall.addEventListener("keydown", (event) => {
  if (!hall.open || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const forward = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
  const next = { n: 1, PageDown: 1, p: -1, PageUp: -1 }[key]; // remote controls send the pages
  if (forward) { play(false); goTo(at.layer + forward); }
  else if (next) chooseBeside(next);
  else if (key >= "1" && key <= "9") { if (key <= document.querySelectorAll(".picker button").length) choose(key - 1); }
  else if (key === " " && !event.target.closest("button")) play(!at.timer);
  else if (key === "f") leave();
  else if (key === "r") { if (!event.repeat) document.querySelector("#run").click(); }
  else return;
  event.preventDefault();
});
onPage(document, "keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.key.toLowerCase() !== "f") return;
  if (event.repeat || isForOthers(event)) return;
  event.preventDefault();
  enter();
});
// Esc ends full screen before the page hears of it.
onPage(document, "fullscreenchange", () => { if (at.isFull && !document.fullscreenElement) leave(); });
onPage(window, "fitprune:shown", take);
onPage(window, "fitprune:told", show); // what went wrong stands on the page, under the presentation
new ResizeObserver(() => { show(); paint(); }).observe(stage);
new MutationObserver(paint).observe(document.body, { attributeFilter: ["class"] });
