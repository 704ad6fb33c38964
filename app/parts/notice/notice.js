// What went wrong is told where one looks: the page goes there, as far as it must, once its parts have their places.
function showWrong(number) {
  if (window.fpToldWrong === number) return; // kept by the window: mounted anew, this would go there once more
  window.fpToldWrong = number;
  requestAnimationFrame(() => {
    const box = element.getBoundingClientRect();
    const isSeen = box.top >= 0 && box.bottom <= innerHeight;
    if (element.getClientRects().length && !isSeen) element.scrollIntoView({ block: "center" });
  });
}

onValue((message) => {
  const isError = message.kind === "error";
  find(".notice").dataset.kind = message.kind;
  setText(find("[role=status]"), isError ? "" : message.text);
  setText(find("[role=alert]"), isError ? message.text : "");
  const bar = find(".bar"), hasShare = typeof message.share === "number";
  bar.hidden = !hasShare;
  bar.firstElementChild.style.width = 100 * (hasShare ? message.share : 0) + "%";
  find(".notice").title = message.text;
  window.dispatchEvent(new CustomEvent("fitprune:told"));
  if (message.number && message.text) showWrong(message.number);
});
