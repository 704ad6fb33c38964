onValue((identity) => {
  setText(find(".model"), identity.model);
  setText(find(".device"), identity.device);
  find(".badge").hidden = !identity.is_demo;
});

// The pictures in Gradio's footer say what the words beside them say: once is enough.
const foot = new MutationObserver(quietFooter);
function quietFooter() {
  const pictures = document.querySelectorAll("footer img");
  for (const picture of pictures) picture.alt = "";
  if (pictures.length) foot.disconnect();
}
foot.observe(document.body, { childList: true, subtree: true });
quietFooter();
