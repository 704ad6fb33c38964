onValue(({ model, is_demo, methods }) => {
  find(".methods").replaceChildren(...methods.flatMap(({ name, about }) => [make("dt", "", name), make("dd", "", about)]));
  setText(find(".model"), model);
  find(".demo-note").hidden = !is_demo;
});
