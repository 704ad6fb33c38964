// Two remembered comparisons side by side: texts, figures, and the pictures at the same depth of both models.

const share = (value) => (100 * value).toFixed(1).replace("-", "−") + " %";
const verdictOf = (comparison) => make("p", "verdict" + (comparison.agree ? "" : " different"), comparison.agree ? "= Same answer" : "≠ Different answers");

// Medians of both sides, where they were measured in turns: which is the faster, the result itself says.
function timeOf({ original, pruned, paired }) {
  if (!paired.prefill) return "not measured";
  return [original, pruned].map(({ prefill_ms: ms }) => (ms >= 1000 ? (ms / 1000).toPrecision(3) + " s" : ms.toPrecision(3) + " ms")).join(", ");
}

function figuresOf(comparison) {
  const { original, pruned } = comparison;
  const saved = (name) => share(original[name] ? pruned[name] / original[name] - 1 : 0);
  return [["Visual FLOPs", saved("visual_gflops")], ["Total FLOPs", saved("total_gflops")], ["Time to the first token", timeOf(comparison)],
    ["KV cache", saved("kv_cache_bytes")]];
}

// One column; returns what paints it at a depth from 0 to 1.
function makeColumn(entry) {
  const { comparison, trace, judged } = JSON.parse(entry.text), column = make("article"), [first] = tracesOf(trace);
  column.append(make("h3", "", entry.name || comparison.question));
  if (entry.name) column.append(make("p", "about", comparison.question));
  column.append(make("p", "about", comparison.model + ", " + comparison.device));
  sidesOf(comparison).forEach(([side, run], at) => {
    const who = make("p", "who", titleOf(side)), mark = judged ? judged.marks[at] : "";
    if (MARKS[mark]) who.append(make("span", "mark " + mark, MARKS[mark]));
    column.append(who, make("p", "answer", run.answer || "(empty answer)"));
  });
  column.append(verdictOf(comparison));
  const table = make("table"), canvas = make("canvas"), layerText = make("p", "layer"), picture = new Image();
  for (const [name, value] of figuresOf(comparison)) {
    const row = make("tr");
    row.append(make("th", "", name), make("td", "", value));
    table.append(row);
  }
  column.append(table, canvas, layerText);
  canvas.style.setProperty("--shape", first.width / first.height);
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
