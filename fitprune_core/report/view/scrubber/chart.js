// The two charts by layer, as SVG. The original is drawn as a line, the pruned run as an area under it.

const CHART = { width: 320, height: 84 };

// original, pruned: one number a layer. `jump` is called with a layer when its column is clicked.
function makeChart(node, original, pruned, jump) {
  const { width, height } = CHART, most = Math.max(...original, 1e-12) * 1.04;
  const line = stepPath(pruned, most, width, height), across = width / original.length;
  const root = makeSvg("svg", { viewBox: "0 0 " + width + " " + height, preserveAspectRatio: "none", "aria-hidden": "true" });
  root.append(
    makeSvg("rect", { class: "current", x: 0, y: 0, width: across, height }),
    makeSvg("path", { class: "pruned", d: line + "V" + height + "H0Z" }),
    makeSvg("path", { class: "pruned-line", d: line }),
    makeSvg("path", { class: "original", d: stepPath(original, most, width, height) }),
    makeSvg("line", { class: "axis", x1: 0, x2: width, y1: height, y2: height }),
  );
  root.addEventListener("click", (event) => {
    const box = root.getBoundingClientRect();
    jump(Math.min(original.length - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * original.length))));
  });
  node.querySelector(".plot").replaceChildren(root);
}

function moveChart(node, layer, layers) {
  const current = node.querySelector(".current");
  if (current) current.setAttribute("x", layer * CHART.width / layers);
}
