// "margin 0.42 · 38 ms"; of an answer that was noted before margins were, the time alone.
function sureInWords({ margin, ms }) {
  const time = ms >= 1000 ? (ms / 1000).toFixed(1) + " s" : Math.round(ms) + " ms";
  return (margin === null ? "" : "margin " + margin.toFixed(2) + " · ") + time;
}

function cellOf(data, row, column) {
  const cell = data.cells[row][column], method = data.methods[row], percent = data.percents[column];
  const holder = make("td");
  if (!cell) {
    holder.append(make("span", "cell waiting"));
    return holder;
  }
  const box = make("button", "cell" + (cell.same ? "" : " differs"));
  box.append(make("span", "said", (cell.same ? "" : "≠ ") + (cell.answer || "(empty answer)")),
    make("span", "facts", cell.left + " left · " + writeGflops(cell.gflops)), make("span", "facts", sureInWords(cell)));
  box.title = cell.answer;
  box.type = "button";
  const what = cell.answer + ", " + (cell.same ? "the same answer" : "another answer");
  box.setAttribute("aria-label", what + ", " + method + ", " + percent + " %. Open in Compare");
  box.addEventListener("click", () => trigger("open", { method, percent }));
  holder.append(box);
  return holder;
}

function heldInWords(data, row) {
  const cells = data.cells[row];
  if (cells.some((cell) => !cell)) return "…";
  const held = holdsUpTo(data.percents, cells);
  const words = held === null ? "at no budget here" : held.isWhole ? "at every budget here" : "up to " + held.percent + " %";
  return words + (comesBack(data.percents, cells) ? ", and again above" : "");
}

onValue((data) => {
  find(".grid").dataset.state = data.methods.length ? "full" : "empty";
  if (!data.methods.length) return;
  if (find("img").getAttribute("src") !== data.picture) find("img").src = data.picture;
  setText(find(".question"), data.question);
  const truth = data.truth ? " · true answer: " + data.truth : "";
  setText(find(".original"), data.original ? "Original: " + data.original + " · " + writeGflops(data.gflops) + " visual FLOPs · " + sureInWords(data) + truth : "…");
  const all = data.methods.length * data.percents.length, done = data.cells.flat().filter(Boolean).length;
  setText(find(".status"), done < all ? done + " of " + all + " answered" : "All " + all + " answered");
  const head = make("tr");
  head.append(make("th", "", "method"), ...data.percents.map((percent) => make("th", "", percent + " %")), make("th", "", "the answer holds"));
  for (const cell of head.children) cell.scope = "col";
  find("thead").replaceChildren(head);
  find("tbody").replaceChildren(...data.methods.map((method, row) => {
    const line = make("tr"), name = make("th", "", method);
    name.scope = "row";
    name.prepend(make("span", "swatch " + styleOf(row)));
    line.append(name, ...data.percents.map((_, column) => cellOf(data, row, column)), make("td", "holds", heldInWords(data, row)));
    return line;
  }));
  paintMargins(find("svg"), data);
});
