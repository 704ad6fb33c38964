const root = find(".lens");
const named = (text) => (text.trim() ? "“" + text.trim() + "”" : text ? "a space" : "the end");

function makeSide(side) {
  const box = make("div", "side"), list = make("ol");
  box.append(make("b", "", side.name), make("span", "", ", margin " + writeMargin(side.margin)), list);
  list.append(...side.likeliest.map(([text, share]) => {
    const line = make("li"), track = make("div");
    const bar = make("div", "bar");
    bar.style.width = 100 * share + "%";
    track.append(bar);
    line.append(make("span", "text" + (text.trim() ? "" : " end"), text.trim() || (text ? "(space)" : "(end)")), track, make("span", "share", writeShare(Number(share))));
    return line;
  }));
  return box;
}

// What a click on a word does now, where no token is shown.
const HINTS = {
  idle: "Run, then click a word of an answer to see what else it might have been, and where the model looked.",
  measuring: "Click a word: once the times are measured, you see what else it might have been, and where the model looked.",
  ready: "Click a word of an answer to see what else it might have been, and where the model looked.",
  other: "This was not answered here. Run, then click a word of an answer to see what else it might have been.",
};
let word = null; // the one that was clicked while times are measured

function hint() {
  const { board } = window.fpShown || {};
  if (word !== null) return "The times are being measured. After that, " + named(word) + " is looked at.";
  if (!board || ["idle", "running"].includes(board.state)) return HINTS.idle;
  return board.state === "measuring" ? HINTS.measuring : board.can_look ? HINTS.ready : HINTS.other;
}

function tellHint() {
  if (root.dataset.state === "empty") setText(find(".words"), hint());
}

// Where in the answer a token stands. What is before it may be nothing that shows: a bare space is a token, too.
function placeOf({ index, before }) {
  if (before.trim()) return "after “" + before.trim() + "”: ";
  return index ? "token " + (index + 1) + ", after a space: " : "at the start: ";
}

function show(lens) {
  const isEmpty = !lens.sides.length;
  root.dataset.state = isEmpty ? "empty" : "full";
  if (isEmpty) {
    root.open = false;
    tellHint();
    find(".sides").replaceChildren();
    setText(find(".facts"), "");
  } else {
    const said = lens.sides.map((side, at) => (at ? "right " : "left ") + named(side.likeliest[0][0]) + " " + writeShare(Number(side.likeliest[0][1])));
    setText(find(".words"), placeOf(lens) + said.join(", ") +
      "; " + lens.divergence.toFixed(3) + " bits apart");
    find(".sides").replaceChildren(...lens.sides.map(makeSide));
    setText(find(".facts"), "After the same words. Margin: the first less the second. Bits apart: Jensen-Shannon divergence of all next tokens, at most 1.");
    if (lens.clicked) root.open = true;
  }
  window.dispatchEvent(new CustomEvent("fitprune:look", { detail: isEmpty ? null : lens }));
}

onValue(show);
onPage(window, "fitprune:later", ({ detail }) => {
  word = detail;
  // In the place of what was looked at before, if anything was: that is of another token.
  setText(find(".words"), hint());
});
onPage(window, "fitprune:shown", () => {
  const { board } = window.fpShown;
  if (board && board.state !== "measuring") word = null;
  tellHint();
});
