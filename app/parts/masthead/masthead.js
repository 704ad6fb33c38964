const dialog = find("dialog");
find(".about").addEventListener("click", () => dialog.showModal());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
onValue((identity) => {
  setText(find(".model"), identity.model);
  setText(find(".device"), identity.device);
  find(".badge").hidden = !identity.is_demo;
  find(".demo-note").hidden = !identity.is_demo;
});
