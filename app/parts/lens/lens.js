const root = find(".lens");
const percent = (share) => (100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0) + " %";
const named = (text) => (text.trim() ? "“" + text.trim() + "”" : text ? "a space" : "the end");

function makeSide(side) {
  const box = make("div", "side"), list = make("ol");
  box.append(make("b", "", side.name), make("span", "", ", margin " + percent(side.margin)), list);
  list.append(...side.likeliest.map(([text, share]) => {
    const line = make("li"), track = make("div");
    const bar = make("div", "bar");
    bar.style.width = 100 * share + "%";
    track.append(bar);
    line.append(make("span", "text" + (text.trim() ? "" : " end"), text.trim() || (text ? "(space)" : "(end)")), track, make("span", "share", percent(Number(share))));
    return line;
  }));
  return box;
}

function show(lens) {
  const isEmpty = !lens.sides.length;
  root.dataset.state = isEmpty ? "empty" : "full";
  if (isEmpty) {
    root.open = false;
    setText(find(".words"), "Run, then click a word of an answer to see what else it might have been, and where the model looked.");
    find(".sides").replaceChildren();
    setText(find(".facts"), "");
  } else {
    const said = lens.sides.map((side, at) => (at ? "right " : "left ") + named(side.likeliest[0][0]) + " " + percent(Number(side.likeliest[0][1])));
    setText(find(".words"), (lens.before.trim() ? "after “" + lens.before.trim() + "”: " : "at the start: ") + said.join(", ") +
      "; " + lens.divergence.toFixed(3) + " bits apart");
    find(".sides").replaceChildren(...lens.sides.map(makeSide));
    setText(find(".facts"), "After the same words. Margin: the first less the second. Bits apart: Jensen-Shannon divergence of all next tokens, at most 1.");
    if (lens.clicked) root.open = true;
  }
  window.dispatchEvent(new CustomEvent("fitprune:look", { detail: isEmpty ? null : lens }));
}

onValue(show);
