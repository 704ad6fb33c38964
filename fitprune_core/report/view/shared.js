// Shared by every component; the script of the component itself follows in the same function.
// Gradio passes `element`, `props`, `trigger` and `watch`.

const find = (selector) => element.querySelector(selector);

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function makeSvg(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const name in attributes) node.setAttribute(name, attributes[name]);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Hand a text, or bytes, to the visitor as a file.
function saveFile(name, type, content) {
  const link = make("a"), isText = typeof content === "string";
  link.href = URL.createObjectURL(new Blob([content], { type: isText ? type + ";charset=utf-8" : type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// GFLOPs as the figures above the picture are written: three digits, rounded before the unit is chosen.
function writeGflops(gflops) {
  const value = Number((gflops * 1e9).toPrecision(3));
  const [factor, prefix] = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([size]) => value >= size) || [1, ""];
  const scaled = value / factor;
  return scaled.toFixed(factor === 1 || scaled >= 100 ? 0 : scaled >= 10 ? 1 : 2) + " " + prefix;
}

// A count with its thousands set apart: "1,838".
const writeCount = (count) => count.toLocaleString("en");

// "0.42": how much likelier an answer's least sure token was than the next likeliest, 0 to 1.
const writeMargin = (margin) => margin.toFixed(2);

// A share of a whole that nothing is claimed of beyond a tenth of a percent: a probability, part of the attention.
function writeShare(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  if (share < 1 && share > 0.999) return "> 99.9 %";
  return (100 * share).toFixed((share > 0 && share < 0.0995) || (share < 1 && share > 0.9905) ? 1 : 0) + " %";
}

// Whether a box that scrolls goes on below what shows of it (`data-more`), and above (`data-before`): it fades out there.
function tellFade(box) {
  box.dataset.more = String(box.scrollHeight - box.clientHeight - box.scrollTop > 2);
  box.dataset.before = String(box.scrollTop > 2);
}

// The classes of a line among many: six colours, then the same dashed.
const styleOf = (order) => "c" + order % 6 + (order >= 6 ? " dashed" : "");

// How an answer is marked, where the true one is known.
const MARKS = { right: "✓ right", wrong: "✗ wrong" };

// What people call a way to answer, which files call by lower case (report/names.py); with its options, where it has any.
const NAMES = {
  original: "Original", fitprune: "FitPrune", "fitprune+": "FitPrune+", fastv: "FastV", divprune: "DivPrune", pyramiddrop: "PyramidDrop",
  "visionzip-dominant": "VisionZip-dominant", "cross-only": "Cross-only", "self-only": "Self-only", "last-token": "Last-token",
  random: "Random", uniform: "Uniform",
};
function called(label) {
  const [name] = label.split(/[(: ]/, 1);
  return (NAMES[name] || name) + label.slice(name.length);
}

// What a side of a comparison, as exports have it, is called.
const titleOf = (side) => called(side.method) + (side.method === "original" ? "" : " " + Number((100 * side.reduction).toPrecision(4)) + " %")
  + (isPainted(side) ? ", painted" : "");

// Left and right of an exported comparison: what each side did, and what came of it.
const sidesOf = (comparison) => [[comparison.against || { method: "original" }, comparison.original], [comparison, comparison.pruned]];

// Whether somebody told patches of a side, as exports have it, to stay or to go.
const isPainted = (side) => Boolean((side.stay || []).length || (side.go || []).length);

// Texts are set only where they changed, so that screen readers are not told twice.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Run `show` with the value now and after every update from the server.
function onValue(show) {
  const run = () => { if (props.value) show(props.value); };
  watch("value", run);
  run();
}

// What answers and scrubber show, for what stands beside them. The window keeps it: components come and go.
function tellShown(part) {
  window.fpShown = { ...window.fpShown, ...part };
  window.dispatchEvent(new CustomEvent("fitprune:shown"));
}

// Listen on the page for as long as this component is on it: Gradio may take it off and mount it anew.
function onPage(target, type, listener, capture = false) {
  const guarded = (event) => {
    if (element.isConnected) listener(event);
    else target.removeEventListener(type, guarded, capture);
  };
  target.addEventListener(type, guarded, capture);
}

// Whether a key means something else: where one types or slides, while a dialog lies over the page, or where another
// page of the app shows.
function isForOthers(event) {
  if (!element.getClientRects().length) return true;
  const fields = "input, textarea, select, [contenteditable=true], [role=slider], [role=dialog]";
  return event.target.closest(fields) !== null || document.querySelector("dialog[open]") !== null;
}

// A small "i" that says what a figure is: on hover, on focus, and on a tap.
function infoButton(label, about) {
  const button = make("button", "fp-info", "i");
  button.type = "button";
  button.setAttribute("aria-label", "What is " + label + "?");
  button.dataset.about = about;
  const show = () => showTip(button);
  button.addEventListener("pointerenter", show);
  button.addEventListener("focus", show);
  button.addEventListener("click", show);
  button.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hideTip(); });
  button.addEventListener("blur", hideTip);
  button.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  return button;
}

function showTip(button) {
  let tip = document.getElementById("fp-tip");
  if (!tip) {
    tip = make("div");
    tip.id = "fp-tip";
    tip.setAttribute("role", "tooltip");
    (document.querySelector(".gradio-container") || document.body).append(tip);
  }
  setText(tip, button.dataset.about);
  button.setAttribute("aria-describedby", "fp-tip");
  tip.hidden = false;
  const at = button.getBoundingClientRect();
  const left = Math.min(Math.max(8, at.left + at.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
  const below = at.bottom + 8 + tip.offsetHeight < innerHeight;
  tip.style.left = left + "px";
  tip.style.top = (below ? at.bottom + 8 : at.top - 8 - tip.offsetHeight) + "px";
}

function hideTip() {
  const tip = document.getElementById("fp-tip");
  if (tip) tip.hidden = true;
}

// In Node, where what needs no page is tested on its own.
if (typeof module !== "undefined" && module.exports) module.exports = { NAMES, called, writeGflops, writeCount, writeMargin, writeShare };
