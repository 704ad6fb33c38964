// Right answers against visual FLOPs: a point a side with its interval, a line a method.

const methodOf = (side) => side.replace(/ [\d.]+ %$/, "");
// Each once, in the order of the sides: what lines.js gives a colour, here and in the table beside it.
const methodsOf = (sides) => [...new Set(sides.map(methodOf))];

// The points that can be drawn: [{ side, method, x, y, low, high }].
function plotPoints(sides, sums) {
  return sums.map((sum, side) => ({ sum, side })).filter(({ sum }) => sum.right.length && sum.gflops !== null)
    .map(({ sum, side }) => ({
      side, method: methodOf(sides[side]), x: sum.gflops, y: sum.right[0] / sum.right[1],
      low: sum.right[2], high: sum.right[3],
    }));
}

function paintPlot(svg, sides, sums, chosen) {
  const points = plotPoints(sides, sums);
  const width = 320, height = 190, left = 56, right = 10, top = 10, bottom = 34;
  svg.setAttribute("viewBox", "0 0 " + width + " " + height);
  svg.replaceChildren();
  svg.toggleAttribute("hidden", points.length < 2);
  if (points.length < 2) return;
  const most = Math.max(...points.map((point) => point.x));
  const floor = Math.max(0, Math.floor(10 * Math.min(...points.map((point) => point.low))) / 10);
  const x = (value) => left + (width - left - right) * value / most;
  const y = (value) => height - bottom - (height - top - bottom) * (value - floor) / (1 - floor);
  for (let tick = 0; tick <= 4; tick++) {
    const share = floor + (1 - floor) * tick / 4;
    svg.append(makeSvg("line", { x1: left, x2: width - right, y1: y(share), y2: y(share), class: "rule" }));
    svg.append(makeSvg("text", { x: left - 6, y: y(share) + 4, class: "tick end" }, Number((100 * share).toFixed(1)) + " %"));
  }
  for (const share of [0, 0.5, 1]) {
    svg.append(makeSvg("text", { x: x(share * most), y: height - bottom + 15, class: share === 1 ? "tick end" : "tick" },
      writeGflops(share * most)));
  }
  svg.append(makeSvg("text", { x: width - right, y: height - 4, class: "tick end" }, "visual FLOPs of a request, mean"));
  const styles = stylesOf(methodsOf(sides));
  const original = points.find((point) => point.method === "original");
  styles.forEach((style, method) => {
    const mine = points.filter((point) => point.method === method);
    if (!mine.length) return;
    const line = (method === "original" || !original ? mine : [original, ...mine]).sort((a, b) => a.x - b.x);
    const path = line.map((point, at) => (at ? "L" : "M") + x(point.x) + " " + y(point.y)).join("");
    svg.append(makeSvg("path", { d: path, class: "line " + style }));
    for (const point of mine) {
      const mark = makeSvg("g", { class: "point " + style + (point.side === chosen ? " chosen" : "") });
      mark.append(makeSvg("line", { x1: x(point.x), x2: x(point.x), y1: y(point.low), y2: y(point.high) }));
      mark.append(makeSvg("circle", { cx: x(point.x), cy: y(point.y), r: point.side === chosen ? 5 : 3.5 }));
      mark.append(makeSvg("title", {}, sides[point.side] + ": " + shareInWords(sums[point.side].right)));
      svg.append(mark);
    }
  });
}

if (typeof module !== "undefined") module.exports = { plotPoints };
