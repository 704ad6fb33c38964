// Patches painted by hand: which must stay, and which must go first, when the question is asked again.

// area: the element with the brushes; ask(stay, go): run again; changed(): the marks are others now.
function makeBrush(area, ask, changed) {
  const marks = new Map(); // by token: "stay" or "go"
  const state = { marks, brush: "stay", stroke: null };
  const listed = (kind) => [...marks].filter(([, mark]) => mark === kind).map(([token]) => token).sort((a, b) => a - b);

  function tell() {
    const stay = listed("stay").length, go = listed("go").length;
    setText(area.querySelector(".painted"), stay || go ? writeCount(stay) + " must stay, " + writeCount(go) + " must go" : "By pointer, or arrows and space.");
    area.querySelector(".clear").disabled = !marks.size;
    area.querySelector(".rerun").disabled = !marks.size || area.dataset.asks !== "true";
  }

  function put(token, mark) {
    if (token < 0 || (marks.get(token) || "") === mark) return;
    if (mark) marks.set(token, mark); else marks.delete(token);
    tell();
    changed();
  }

  state.choose = (brush) => {
    state.brush = brush;
    for (const button of area.querySelectorAll("[data-brush]")) button.setAttribute("aria-pressed", String(button.dataset.brush === brush));
  };
  // A stroke that begins on what the brush has painted takes it away again.
  state.begin = (token) => {
    state.stroke = marks.get(token) === state.brush ? "" : state.brush;
    put(token, state.stroke);
  };
  state.go = (token) => { if (state.stroke !== null) put(token, state.stroke); };
  state.end = () => { state.stroke = null; };
  state.clear = () => { marks.clear(); tell(); changed(); };
  state.allow = (asks) => { area.dataset.asks = String(asks); tell(); };
  for (const button of area.querySelectorAll("[data-brush]")) button.addEventListener("click", () => state.choose(button.dataset.brush));
  area.querySelector(".clear").addEventListener("click", state.clear);
  area.querySelector(".rerun").addEventListener("click", () => ask(listed("stay"), listed("go")));
  state.choose("stay");
  state.allow(false);
  return state;
}

// What is painted, by signs that need no colour: a plus for what must stay, a cross for what must go.
function paintMarks(context, trace, at, marks) {
  for (const [token, mark] of marks) {
    if (!trace.boxes[token]) continue;
    const [x, y, width, height] = at(trace.boxes[token]), middle = [x + width / 2, y + height / 2];
    const arm = Math.max(3, Math.min(width, height) * 0.26), turn = mark === "stay" ? 0 : Math.PI / 4;
    context.fillStyle = mark === "stay" ? "rgba(0, 114, 178, 0.42)" : "rgba(213, 94, 0, 0.42)"; // told apart by the colour-blind, too
    context.fillRect(x, y, width, height);
    for (const [style, line] of [["rgba(0, 0, 0, 0.8)", arm * 0.8], ["#fff", arm * 0.4]]) {
      context.strokeStyle = style;
      context.lineWidth = Math.max(1.5, line);
      context.beginPath();
      for (const angle of [turn, turn + Math.PI / 2]) {
        const dx = arm * Math.cos(angle), dy = arm * Math.sin(angle);
        context.moveTo(middle[0] - dx, middle[1] - dy);
        context.lineTo(middle[0] + dx, middle[1] + dy);
      }
      context.stroke();
    }
  }
}
