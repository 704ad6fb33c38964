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

const SPREAD = 12; // pixels at most over which lines of equal margins lie beside each other

// How far below its top, a margin of 1, a plot of some height draws a margin of the line of an order among so many: lines of
// equal margins do not hide each other, and none leaves the plot. One alone is drawn in its place.
function depthOf(margin, order, count, height) {
  const spread = Math.min(3 * (count - 1), SPREAD);
  return (height - spread) * (1 - margin) + (spread && spread * order / (count - 1));
}

function paintMargins(svg, data) {
  const lines = marginLines(data);
  const isEmpty = lines.every(({ points }) => points.length < 2);
  svg.closest("figure").toggleAttribute("hidden", isEmpty);
  const styles = stylesOf(data.methods);
  // In CSS pixels, so that words have the size of the page's.
  const width = svg.clientWidth, height = 220, left = 44, right = nameRoom(data.methods, width), top = 32, bottom = 42;
  svg.replaceChildren();
  if (isEmpty || !width) return; // or on a page that does not show yet
  svg.setAttribute("viewBox", "0 0 " + width + " " + height);
  const most = Math.max(...data.percents, 10);
  const x = (percent) => left + (width - left - right) * percent / most;
  const y = (margin, order = 0, count = 1) => top + depthOf(margin, order, count, height - top - bottom);
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
  const ends = [];
  lines.forEach(({ method, points }, order) => {
    const style = styles.get(method);
    const places = points.map(({ percent, margin }) => ({ x: x(percent), y: percent ? y(margin, order, lines.length) : y(margin) }));
    const path = places.map((place, at) => (at ? "L" : "M") + place.x.toFixed(1) + " " + place.y.toFixed(1)).join("");
    svg.append(makeSvg("path", { class: "line " + style, d: path }));
    points.forEach((point, at) => {
      if (point.percent) svg.append(markOfPoint(places[at], point, style, method));
    });
    if (places.length) ends.push({ name: method, style, ...places[places.length - 1] });
  });
  if (data.margin !== null) {
    const start = { percent: 0, margin: data.margin, same: true };
    svg.append(markOfPoint({ x: x(0), y: y(data.margin) }, start, "c-first", "original"));
  }
  nameLines(svg, ends, height - bottom, right);
}

function markOfPoint(place, { percent, margin, same }, style, method) {
  const mark = makeSvg("circle", { class: "mark " + style + (same ? "" : " other"), cx: place.x, cy: place.y, r: 4.5 });
  const said = method === "original" ? method : method + ", " + percent + " %";
  const answer = method === "original" ? "" : same ? ", the same answer" : ", another answer";
  mark.append(makeSvg("title", {}, said + ": margin " + writeMargin(margin) + answer));
  return mark;
}

if (typeof module !== "undefined") module.exports = { depthOf, marginLines };
