onValue(({ model, is_demo }) => {
  setText(find(".model"), model);
  find(".demo-note").hidden = !is_demo;
});
