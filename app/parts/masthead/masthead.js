onValue((identity) => {
  setText(find(".model"), identity.model);
  setText(find(".device"), identity.device);
  find(".badge").hidden = !identity.is_demo;
});
