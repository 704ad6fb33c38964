// Two remembered comparisons side by side: texts, figures, and the pictures at the same depth of both models.

const share = (value) => (100 * value).toFixed(1).replace("-", "−") + " %";
const CALLED = { original: "Original", fitprune: "FitPrune" };
const titleOf = (side) => (side.method === "original" ? CALLED.original : (CALLED[side.method] || side.method) + " " + Number((100 * side.reduction).toPrecision(4)) + " %" + (isPainted(side) ? ", painted" : ""));
// Left and right of a comparison, as exports have them: what each side did, and what came of it.
const sidesOf = (comparison) => [[comparison.against || { method: "original" }, comparison.original], [comparison, comparison.pruned]];
const verdictOf = (comparison) => make("p", "verdict" + (comparison.agree ? "" : " different"), comparison.agree ? "= Same answer" : "≠ Different answers");

function figuresOf(comparison) {
  const { original, pruned } = comparison;
  const saved = (name) => share(original[name] ? pruned[name] / original[name] - 1 : 0);
  return [["Visual FLOPs", saved("visual_gflops")], ["Total FLOPs", saved("total_gflops")], ["KV cache", saved("kv_cache_bytes")]];
}

// One column; returns what paints it at a depth from 0 to 1.
function makeColumn(entry) {
  const { comparison, trace } = JSON.parse(entry.text), column = make("article"), [first] = tracesOf(trace);
  column.append(make("h3", "", entry.name || comparison.question));
  if (entry.name) column.append(make("p", "about", comparison.question));
  column.append(make("p", "about", comparison.model + ", " + comparison.device));
  for (const [side, run] of sidesOf(comparison)) {
    column.append(make("p", "who", titleOf(side)), make("p", "answer", run.answer || "(empty answer)"));
  }
  column.append(verdictOf(comparison));
  const table = make("table"), canvas = make("canvas"), layerText = make("p", "layer"), picture = new Image();
  for (const [name, value] of figuresOf(comparison)) {
    const row = make("tr");
    row.append(make("th", "", name), make("td", "", value));
    table.append(row);
  }
  column.append(table, canvas, layerText);
  let depth = 1;
  const paint = () => {
    const layer = Math.min(first.layers - 1, Math.round(depth * (first.layers - 1))), [view] = viewsOf(first);
    setText(layerText, (first.name ? first.name + ", layer " : "Layer ") + (layer + 1) + " of " + first.layers + ": " + writeKept(first, layer));
    if (!picture.naturalWidth || !sizeCanvas(canvas, canvas.clientWidth, canvas.clientHeight)) return;
    paintPicture(canvas, first, picture, { layer, mode: "patches", view, tokens: tokensOf(first, view), marked: -1 });
  };
  picture.onload = paint;
  picture.src = trace.image;
  return { column, paint: (at) => { depth = at; paint(); } };
}
