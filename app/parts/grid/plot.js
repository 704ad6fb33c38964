// How sure each answer was against its budget: a line a method, which begins at the original's answer.

// By method: [{ method, points: [{ percent, margin, same }] }], in the order of budgets; only what is known.
function marginLines(data) {
  const start = data.margin === null ? [] : [{ percent: 0, margin: data.margin, same: true }];
  return data.methods.map((method, row) => {
    const found = data.percents.map((percent, column) => ({ percent, cell: data.cells[row][column] }))
      .filter(({ cell }) => cell && cell.margin !== null)
      .map(({ percent, cell }) => ({ percent, margin: cell.margin, same: cell.same }));
    return { method, points: [...start, ...found.sort((a, b) => a.percent - b.percent)] };
  });
}

// By how many pixels a line of so many is drawn above its place, so that lines of equal margins do not hide each other.
const apart = (order, count) => ((count - 1) / 2 - order) * Math.min(3, 12 / Math.max(count - 1, 1));

function paintMargins(svg, data) {
  const lines = marginLines(data);
  const isEmpty = lines.every(({ points }) => points.length < 2);
  svg.closest("figure").toggleAttribute("hidden", isEmpty);
  // In CSS pixels, so that words have the size of the page's.
  const width = svg.clientWidth, height = 220, left = 44, right = 14, top = 32, bottom = 42;
  svg.replaceChildren();
  if (isEmpty || !width) return; // or on a page that does not show yet
  svg.setAttribute("viewBox", "0 0 " + width + " " + height);
  const most = Math.max(...data.percents, 10);
  const x = (percent) => left + (width - left - right) * percent / most;
  const y = (margin) => height - bottom - (height - top - bottom) * margin;
  for (const share of [0, 0.5, 1]) {
    svg.append(makeSvg("line", { class: "rule", x1: left, x2: width - right, y1: y(share), y2: y(share) }),
      makeSvg("text", { class: "tick end", x: left - 8, y: y(share) + 4 }, String(share)));
  }
  svg.append(makeSvg("text", { class: "tick", x: 0, y: 14 }, "margin"));
  let last = -Infinity; // words do not run into each other where budgets are many
  for (const percent of [0, ...data.percents]) {
    if (x(percent) - last < 36) continue;
    last = x(percent);
    svg.append(makeSvg("text", { class: "tick middle", x: x(percent), y: height - bottom + 18 }, percent + " %"));
  }
  svg.append(makeSvg("text", { class: "tick end", x: width - right, y: height - 6 }, "visual FLOPs saved"));
  lines.forEach(({ method, points }, order) => {
    const up = apart(order, lines.length);
    const path = points.map((point, at) => (at ? "L" : "M") + x(point.percent).toFixed(1) + " " + (y(point.margin) - up).toFixed(1)).join("");
    svg.append(makeSvg("path", { class: "line " + styleOf(order), d: path }));
    for (const point of points.slice(points.length && points[0].percent === 0 ? 1 : 0)) {
      const mark = makeSvg("circle", { class: "mark " + styleOf(order) + (point.same ? "" : " other"), cx: x(point.percent), cy: y(point.margin) - up, r: 4.5 });
      mark.append(makeSvg("title", {}, method + ", " + point.percent + " %: margin " + writeMargin(point.margin) + ", " + (point.same ? "the same answer" : "another answer")));
      svg.append(mark);
    }
  });
}

if (typeof module !== "undefined") module.exports = { apart, marginLines };
