const root = find(".scrubber");
const canvas = find("canvas");
const range = find("input[type=range]");
const picture = new Image();
const BEAT = 420; // milliseconds a layer while playing
const FADE = 24; // pixels of the strip of layers, at an end beyond which it goes on

const at = { trace: null, side: 0, looks: null, opened: null, layer: 0, mode: "patches", view: "grid", tokens: [], hovered: -1, pinned: -1, timer: 0, place: null };

const brush = makeBrush(find(".painting"), (stay, go) => trigger("paint", { stay, go }), () => repaint());

function repaint() {
  const trace = at.trace;
  const frame = find(".frame");
  if (!trace || !picture.naturalWidth || !sizeCanvas(canvas, frame.clientWidth, frame.clientHeight)) return;
  const marked = at.hovered >= 0 ? at.hovered : at.pinned;
  at.place = paintPicture(canvas, trace, picture, { layer: at.layer, mode: at.mode, view: at.view, tokens: at.tokens, marked, looks: at.looks && at.looks.looks, marks: brush.marks });
}

function repaintStrip() {
  const trace = at.trace;
  if (!trace || !picture.naturalWidth) return;
  find(".strip").querySelectorAll("canvas").forEach((small, layer) => {
    if (sizeCanvas(small, small.clientWidth, small.clientHeight)) paintSmall(small, trace, picture, layer, at.tokens);
  });
}

function tell() {
  const trace = at.trace, { layer } = at;
  const marked = at.hovered >= 0 ? at.hovered : at.pinned;
  setText(find(".layer"), "Layer " + (layer + 1) + " of " + trace.layers);
  setText(find(".count"), describeLayer(trace, layer));
  const facts = () => (describeAsked(trace, layer) + describeView(trace, at.tokens, layer)).trim();
  const told = at.mode === "looks" ? describeLooks(trace, at.looks, layer, marked) : marked >= 0 ? describeToken(trace, marked) : facts();
  setText(find(".detail"), told);
  setText(find(".how"), "Point at a patch, tap it, or reach it with arrows, to see " + (at.mode === "looks" ? "what it gets, mean over heads." : "where it went."));
  root.dataset.map = String(at.mode !== "looks" || isMap(at.looks.looks, layer));
  setText(find("[data-chart=tokens] .now"), writeCount(trace.tokens[layer]) + " of " + writeCount(trace.boxes.length));
  setText(find("[data-chart=flops] .now"), writeGflops(trace.pruned_gflops[layer]) + " of " + writeGflops(trace.original_gflops[layer]));
  range.setAttribute("aria-valuetext", "layer " + (layer + 1) + ", " + describeLayer(trace, layer));
  root.dataset.layer = layer + 1;
  root.dataset.drops = String(droppedAt(trace, layer) > 0);
}

function goTo(layer) {
  const trace = at.trace;
  if (!trace) return;
  at.layer = Math.min(Math.max(0, layer), trace.layers - 1);
  range.value = at.layer + 1;
  range.style.setProperty("--done", trace.layers > 1 ? at.layer / (trace.layers - 1) : 1);
  find(".strip").querySelectorAll("button").forEach((button, index) => {
    if (index === at.layer) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    button.tabIndex = index === at.layer ? 0 : -1; // one stop of the Tab key, at the layer that shows: arrows go on from there
  });
  const strip = find(".strip");
  if (strip.contains(document.activeElement)) strip.children[at.layer].focus({ preventScroll: true });
  showInStrip();
  for (const chart of element.querySelectorAll(".chart")) moveChart(chart, at.layer, trace.layers);
  tell();
  tellLayer();
  repaint();
}

// The strip alone is scrolled, never the page, until all of the layer's picture shows.
function showInStrip() {
  const strip = find(".strip"), button = strip.children[at.layer];
  if (!button) return;
  const top = button.offsetTop - strip.offsetTop, bottom = top + button.offsetHeight;
  if (top < strip.scrollTop) strip.scrollTop = top - FADE;
  else if (bottom > strip.scrollTop + strip.clientHeight) strip.scrollTop = bottom - strip.clientHeight + FADE;
  tellFade(strip);
}

// The layer that the page's address asks for, once; after that, and where it asks for none, the last one.
let isAsked = true;
function askedLayer(layers) {
  const layer = isAsked ? Number(new URLSearchParams(location.search).get("layer")) : 0;
  isAsked = false;
  return layer >= 1 && layer <= layers ? Math.round(layer) : layers;
}

// For whoever keeps the address: the layer that was gone to, or 0 for the last one.
let telling = 0;
function tellLayer() {
  clearTimeout(telling);
  telling = setTimeout(() => {
    const layer = at.layer + 1 < at.trace.layers ? at.layer + 1 : 0;
    window.dispatchEvent(new CustomEvent("fitprune:layer", { detail: layer }));
  }, 300);
}

function play(on) {
  clearInterval(at.timer);
  at.timer = 0;
  root.classList.toggle("playing", on);
  find(".play").setAttribute("aria-label", on ? "Pause" : "Play through the layers");
  if (!on || !at.trace) return;
  if (at.layer >= at.trace.layers - 1) goTo(0);
  at.timer = setInterval(() => {
    if (!element.isConnected || !at.trace) return play(false);
    goTo(at.layer + 1);
    if (at.layer >= at.trace.layers - 1) play(false);
  }, BEAT);
}

function setMode(mode) {
  at.mode = mode;
  root.dataset.mode = mode;
  for (const button of element.querySelectorAll("button[data-mode]")) {
    button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  }
  if (at.trace) tell();
  repaint();
}

// A map that is seen for the first time begins where there is most to see.
function openLooks() {
  if (at.opened !== at.looks) goTo(mostLooked(at.looks.looks));
  at.opened = at.looks;
}

function setView(view) {
  at.view = view;
  root.dataset.tiled = String(view === "tile" && at.trace.tiles.length > 0);
  at.tokens = tokensOf(at.trace, view);
  at.hovered = at.pinned = -1;
}

// Whose patches are drawn, where both sides of a comparison prune: 0 the second's, 1 the first's.
function setSide(side) {
  at.side = side;
  at.trace = tracesOf(props.value)[side];
}

function makeSides(value) {
  const traces = tracesOf(value), select = find(".sides");
  const names = traces.map((trace, side) => (traces.length < 2 ? trace.name : (side ? "Left: " : "Right: ") + trace.name));
  select.replaceChildren(...names.map((name, side) => new Option(name, side)));
  select.hidden = traces.length < 2;
  setSide(at.side < traces.length ? at.side : 0);
  select.value = at.side;
}

function makeStrip(trace) {
  const buttons = trace.tokens.map((_, layer) => {
    const button = make("button");
    button.type = "button";
    button.setAttribute("aria-label", "Layer " + (layer + 1) + ": " + writeKept(trace, layer));
    button.append(make("canvas"), make("span", "", String(layer + 1)));
    button.addEventListener("click", () => { play(false); goTo(layer); });
    return button;
  });
  find(".strip").style.setProperty("--columns", Math.min(trace.layers, 16));
  find(".strip").replaceChildren(...buttons);
}

function makeCharts(trace) {
  const all = trace.boxes.length, go = (layer) => { play(false); goTo(layer); };
  makeChart(find("[data-chart=tokens]"), trace.tokens.map(() => all), trace.tokens, go);
  makeChart(find("[data-chart=flops]"), trace.original_gflops, trace.pruned_gflops, go);
}

function makeViews(trace) {
  const views = viewsOf(trace), select = find(".views");
  select.replaceChildren(...views.map((view) => new Option(VIEW_NAMES[view], view)));
  select.hidden = views.length < 2;
  setView(views.includes(at.view) ? at.view : views[0]);
  select.value = at.view;
}

// The token under a pointer, by the place at which the picture was last drawn.
function tokenUnder(event) {
  if (!at.place || !at.trace) return -1;
  const box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
  const x = ((event.clientX - box.left) * ratio - at.place.left) / at.place.scale;
  const y = ((event.clientY - box.top) * ratio - at.place.top) / at.place.scale;
  return x < at.trace.width ? tokenAt(at.trace, at.tokens, x, y) : lineEndAt(at.trace, at.view, y);
}

function hover(index) {
  if (index === at.hovered) return;
  at.hovered = index;
  tell();
  repaint();
}

canvas.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") hover(tokenUnder(event)); });
canvas.addEventListener("pointerleave", () => { if (at.trace) hover(-1); });
// A pointer paints for as long as it is down.
canvas.addEventListener("pointerdown", (event) => {
  if (at.mode !== "paint" || event.button > 0) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  brush.begin(tokenUnder(event));
});
canvas.addEventListener("pointermove", (event) => {
  if (brush.stroke === null) return;
  for (const part of event.getCoalescedEvents ? event.getCoalescedEvents() : []) brush.go(tokenUnder(part));
  brush.go(tokenUnder(event));
});
for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, brush.end);
canvas.addEventListener("click", (event) => {
  if (at.mode === "paint") return;
  const index = tokenUnder(event);
  at.pinned = index === at.pinned ? -1 : index;
  if (at.trace) { tell(); repaint(); }
});
// Patches by keyboard: arrows go from one to its neighbour, Escape gives the arrows back to the layers.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
canvas.addEventListener("keydown", (event) => {
  if (!at.trace || event.ctrlKey || event.metaKey || event.altKey) return;
  if (at.mode === "paint" && (event.key === " " || event.key === "Enter") && at.pinned >= 0) {
    brush.begin(at.pinned);
    brush.end();
  } else if (event.key === "Escape") at.pinned = -1;
  else if (event.key in ARROWS) at.pinned = neighbourOf(at.trace, at.tokens, at.pinned, ...ARROWS[event.key]);
  else return;
  event.preventDefault();
  at.hovered = -1;
  tell();
  repaint();
});
range.addEventListener("input", () => { play(false); goTo(range.value - 1); });
find(".play").addEventListener("click", () => play(!at.timer));
find(".views").addEventListener("change", (event) => { setView(event.target.value); repaintStrip(); goTo(at.layer); });
find(".sides").addEventListener("change", (event) => {
  setSide(Number(event.target.value));
  makeStrip(at.trace);
  makeCharts(at.trace);
  repaintStrip();
  goTo(at.layer);
});
for (const button of element.querySelectorAll("button[data-mode]")) button.addEventListener("click", () => {
  setMode(button.dataset.mode);
  if (at.mode === "looks") { play(false); openLooks(); }
});

// Keys work anywhere on the page except where they mean something else: in a field, on a button, on a slider.
onPage(document, "keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isForOthers(event)) return;
  if (event.key === "r" || event.key === "R") {
    const run = document.querySelector("#run");
    if (run && !event.repeat) run.click(); // a key that is held down runs once
  } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    if (!at.trace) return;
    event.preventDefault();
    play(false);
    goTo(at.layer + (event.key === "ArrowRight" ? 1 : -1));
  } else if (event.key === " " && !event.target.closest("button, a, summary")) {
    if (!at.trace) return;
    event.preventDefault();
    play(!at.timer);
  }
});
onPage(window, "fitprune:state", (event) => {
  root.classList.toggle("running", event.detail === "running");
  if (event.detail === "running") play(false);
});
// Where a token of an answer looked, for as long as its answer is shown.
onPage(window, "fitprune:look", (event) => {
  at.looks = event.detail;
  find("button[data-mode=looks]").hidden = !at.looks;
  if (at.looks && at.looks.clicked) play(false);
  const was = at.mode;
  setMode(at.looks && (at.looks.clicked || was === "looks") ? "looks" : was === "looks" ? "patches" : was);
  if (at.mode !== "looks") return;
  if (was === "looks") at.opened = at.looks; // who goes from word to word stays at that layer
  else openLooks();
});
// Whether what is painted can be asked: of the picture that is shown, where something prunes it.
onPage(window, "fitprune:paintable", (event) => {
  find("button[data-mode=paint]").hidden = !event.detail;
  brush.allow(event.detail);
  if (at.mode === "paint" && !event.detail) setMode("patches");
});
onPage(window, "fitprune:stale", (event) => root.classList.toggle("stale", event.detail));

new ResizeObserver(() => { repaint(); repaintStrip(); }).observe(find(".frame"));
new ResizeObserver(showInStrip).observe(find(".strip"));
find(".strip").addEventListener("scroll", () => tellFade(find(".strip")), { passive: true });
// Colours of the canvas follow a switch between light and dark.
new MutationObserver(() => { repaint(); repaintStrip(); }).observe(document.body, { attributeFilter: ["class"] });

setMode("patches");
setText(find(".hint"), "The picture appears here with the patches that each layer drops.");
onValue((value) => {
  play(false);
  makeSides(value);
  const trace = at.trace;
  root.dataset.state = "full";
  root.dataset.ends = String(hasLineEnds(trace));
  setText(find(".merged-key .words"), "a square: " + trace.merge + " × " + trace.merge + " patches");
  root.dataset.merged = String(trace.merge > 1);
  root.dataset.cropped = String(unseenParts(trace.width, trace.height, trace.seen).length > 0);
  range.max = trace.layers;
  setText(find(".deepest"), String(trace.layers));
  for (const end of element.querySelectorAll(".ends .last")) setText(end, "layer " + trace.layers);
  find(".ramp:not(.looks)").style.background = rampOf((share) => heatColor(share));
  find(".ramp.looks").style.background = rampOf((share) => lookColor(share));
  root.dataset.wordy = String(viewsOf(trace).length > 1 || trace.boxes.includes(null));
  makeViews(trace);
  makeStrip(trace);
  makeCharts(trace);
  goTo(askedLayer(trace.layers) - 1);
  if (picture.src !== trace.image) brush.clear(); // what was painted is of the picture before
  picture.onload = () => { repaint(); repaintStrip(); };
  picture.src = trace.image;
  tellShown({ trace: value });
});
