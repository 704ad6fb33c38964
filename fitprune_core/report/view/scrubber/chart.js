// The two charts by layer, as SVG. The original is drawn as a line, the pruned run as an area under it.

const CHART = { width: 320, height: 84 };

function svg(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// original, pruned: one number a layer. `jump` is called with a layer when its column is clicked.
function makeChart(node, original, pruned, jump) {
  const { width, height } = CHART, most = Math.max(...original, 1e-12) * 1.04;
  const line = stepPath(pruned, most, width, height), across = width / original.length;
  const root = svg("svg", { viewBox: "0 0 " + width + " " + height, preserveAspectRatio: "none", "aria-hidden": "true" });
  root.append(
    svg("rect", { class: "current", x: 0, y: 0, width: across, height }),
    svg("path", { class: "pruned", d: line + "V" + height + "H0Z" }),
    svg("path", { class: "pruned-line", d: line }),
    svg("path", { class: "original", d: stepPath(original, most, width, height) }),
    svg("line", { class: "axis", x1: 0, x2: width, y1: height, y2: height }),
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
