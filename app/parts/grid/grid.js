let isWhole = false; // whether answers are shown from end to end

// "margin 0.42"; nothing of an answer that was noted before margins were.
const sureInWords = ({ margin }) => (margin === null ? [] : ["margin " + writeMargin(margin)]);

// "✓ ", "✗ ", or "" where the true answer is not known.
const markOf = (right) => (right === null ? "" : right ? "✓ " : "✗ ");

// An answer as a cell has it: marked right or wrong, and where it is another one, the word from which on.
function saidOf(cell, original) {
  const said = make("span", "said"), mark = markOf(cell.right);
  if (mark) said.append(make("span", cell.right ? "right" : "wrong", mark));
  if (cell.same || !cell.answer) {
    said.append((cell.same ? "" : "≠ ") + (cell.answer || "(empty answer)"));
    return said;
  }
  const { before, differs, after } = excerptOf(cell.answer, original, isWhole);
  said.append("≠ ", before, make("b", "", differs), after);
  return said;
}

// What a cell shows. One that shows it already stays: somebody may be about to click it, or have it in focus.
function fillCell(holder, data, row, column) {
  const cell = data.cells[row][column], method = data.methods[row], percent = data.percents[column];
  const key = JSON.stringify([method, percent, cell, isWhole]);
  if (holder.dataset.shows === key) return;
  holder.dataset.shows = key;
  holder.replaceChildren();
  if (!cell) {
    holder.append(make("span", "cell waiting"));
    return;
  }
  const box = make("button", "cell" + (cell.same ? "" : " differs"));
  const facts = make("span", "facts");
  [writeCount(cell.left) + " left", ...sureInWords(cell)].forEach((fact, at) => facts.append(at ? " · " : "", make("span", "", fact)));
  box.append(saidOf(cell, data.original), facts);
  box.title = cell.answer;
  box.type = "button";
  const judged = cell.right === null ? "" : cell.right ? ", right" : ", wrong";
  const what = cell.answer + ", " + (cell.same ? "the same answer" : "another answer") + judged;
  box.setAttribute("aria-label", what + ", " + method + ", " + percent + " %. Open in Compare");
  box.addEventListener("click", () => {
    leaveFor("Sweep");
    trigger("open", { method, percent });
  });
  holder.append(box);
}

// The rows of these methods and budgets, made anew where they are others.
function makeRows(data) {
  const key = JSON.stringify([data.methods, data.percents]), body = find("tbody");
  if (body.dataset.rows === key) return;
  body.dataset.rows = key;
  const head = make("tr");
  head.append(make("th", "", "method"), ...data.percents.map((percent) => make("th", "budget", percent + " %")));
  for (const cell of head.children) cell.scope = "col";
  find("thead").replaceChildren(head);
  const styles = stylesOf(data.methods);
  body.replaceChildren(...data.methods.map((method, row) => {
    const line = make("tr"), name = make("th", "", method);
    name.scope = "row";
    name.prepend(make("span", "swatch " + styles.get(method)));
    name.append(make("span", "holds"));
    if (data.placed[row]) name.append(make("span", "placed", data.placed[row]));
    line.append(name, ...data.percents.map(() => make("td")));
    return line;
  }));
}

// The visual FLOPs at a budget, of all methods: they differ by what a method reads. Nothing until one is answered.
function flopsInWords(data, column) {
  const cells = data.cells.map((cells) => cells[column]).filter(Boolean);
  if (!cells.length) return "";
  const gflops = cells.map((cell) => cell.gflops), ends = [Math.min(...gflops), Math.max(...gflops)].map(writeGflops);
  return " · " + (ends[0] === ends[1] ? ends[0] : ends.join(" to "));
}

// "20 to 90 %": the budgets of the table.
function budgetsInWords(percents) {
  const least = Math.min(...percents), most = Math.max(...percents);
  return (least === most ? "" : least + " to ") + most + " %";
}

// Whether what is ticked now is something else than the table is of.
let chosen = null;
function tellStale() {
  const data = props.value;
  const isOf = (now, of) => now.length === of.length && now.every((each) => of.includes(each));
  const isStale = Boolean(chosen && data && data.methods.length && !(isOf(chosen.percents, data.percents) && isOf(chosen.methods, data.methods)));
  find(".grid").dataset.stale = String(isStale);
  const methods = data && data.methods.length === 1 ? data.methods[0] : data && data.methods.length + " methods";
  setText(find(".age"), isStale ? "This table is of " + methods + " at " + budgetsInWords(data.percents) + ". Press Sweep for what is ticked now." : "");
}
onPage(window, "fitprune:sweep-chosen", (event) => { chosen = event.detail; tellStale(); });

function heldInWords(data, row) {
  const cells = data.cells[row];
  if (cells.some((cell) => !cell)) return "…";
  const held = holdsUpTo(data.percents, cells);
  const words = held === null ? "holds at no budget here" : held.isWhole ? "holds at every budget here" : "holds up to " + held.percent + " %";
  return words + (comesBack(data.percents, cells) ? ", and again above" : "");
}

onValue((data) => {
  find(".grid").dataset.state = data.methods.length ? "full" : "empty";
  if (!data.methods.length) return;
  if (find("img").getAttribute("src") !== data.picture) find("img").src = data.picture;
  setText(find(".question"), data.question);
  const truth = data.truth ? " · true answer: " + data.truth : "";
  setText(find(".original"), data.gflops ? "Original: " + markOf(data.right) + (data.original || "(empty answer)") + " · " + writeGflops(data.gflops) + " visual FLOPs" + sureInWords(data).map((words) => " · " + words).join("") + truth : "…");
  const all = data.methods.length * data.percents.length, done = data.cells.flat().filter(Boolean).length;
  setText(find(".status"), done < all ? done + " of " + all + " answered" : "All " + all + " answered");
  makeRows(data);
  data.percents.forEach((percent, column) => setText(find("thead").querySelectorAll(".budget")[column], percent + " %" + flopsInWords(data, column)));
  data.methods.forEach((_, row) => {
    const cells = find("tbody").children[row].children;
    data.percents.forEach((_, column) => fillCell(cells[1 + column], data, row, column));
    setText(cells[0].querySelector(".holds"), heldInWords(data, row));
  });
  paintMargins(find("svg"), data);
  tellMore();
  tellCut();
  tellStale();
});

// Whether an answer goes on below the edge of its cell, or began before it: then all can be shown whole.
function tellCut() {
  const isCut = [...element.querySelectorAll(".said")].some((said) => said.scrollHeight > said.clientHeight + 1 || said.textContent.includes("≠ … "));
  find(".whole").hidden = !isCut && !isWhole;
}
find(".whole").addEventListener("click", () => {
  isWhole = !isWhole;
  find(".whole").setAttribute("aria-pressed", String(isWhole));
  find(".grid").dataset.whole = String(isWhole);
  const data = props.value;
  data.methods.forEach((_, row) => data.percents.forEach((_, column) => {
    fillCell(find("tbody").children[row].children[1 + column], data, row, column);
  }));
  tellMore();
});

// Whether budgets go on beyond the right edge.
function tellMore() {
  const box = find(".scroll");
  box.dataset.more = String(box.scrollWidth - box.clientWidth - box.scrollLeft > 2);
}
find(".scroll").addEventListener("scroll", tellMore, { passive: true });
new ResizeObserver(() => {
  tellMore();
  if (!props.value || !props.value.methods.length) return;
  tellCut();
  paintMargins(find("svg"), props.value);
}).observe(find(".grid"));
