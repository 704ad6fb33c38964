onValue((identity) => {
  setText(find(".model"), identity.model);
  setText(find(".device"), identity.device);
  find(".badge").hidden = !identity.is_demo;
});

// Light, dark, or as the system has it; `app/colours.js` does it before anything is drawn.
const colours = find(".colours"), COLOURS = { system: "System", light: "Light", dark: "Dark" };
function tellColours() {
  setText(colours, COLOURS[window.fpColours.choice]);
  colours.setAttribute("aria-label", "Colours: " + COLOURS[window.fpColours.choice]);
  colours.title = "Colours: light, dark, or as your system has them";
}
colours.addEventListener("click", () => { window.fpColours.next(); tellColours(); });
tellColours();

// The pictures in Gradio's footer say what the words beside them say: once is enough.
const foot = new MutationObserver(quietFooter);
function quietFooter() {
  const pictures = document.querySelectorAll("footer img");
  for (const picture of pictures) picture.alt = "";
  if (pictures.length) foot.disconnect();
}
foot.observe(document.body, { childList: true, subtree: true });
quietFooter();
