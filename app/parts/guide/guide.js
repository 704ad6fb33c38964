// A sentence in which every paper, "arXiv 2409.10197", leads to it.
function withPapers(text) {
  const said = make("dd");
  for (const part of text.split(/(arXiv \d{4}\.\d{5})/)) {
    if (!part.startsWith("arXiv ")) {
      said.append(part);
      continue;
    }
    const link = make("a", "", part);
    Object.assign(link, { href: "https://arxiv.org/abs/" + part.slice("arXiv ".length), rel: "noopener", target: "_blank" });
    said.append(link);
  }
  return said;
}

onValue(({ model, is_demo, methods }) => {
  find(".methods").replaceChildren(...methods.flatMap(({ name, about }) => [make("dt", "", name), withPapers(about)]));
  setText(find(".model"), model);
  find(".demo-note").hidden = !is_demo;
});
