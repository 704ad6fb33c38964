onValue((message) => {
  const isError = message.kind === "error";
  find(".notice").dataset.kind = message.kind;
  setText(find("[role=status]"), isError ? "" : message.text);
  setText(find("[role=alert]"), isError ? message.text : "");
  const bar = find(".bar"), hasShare = typeof message.share === "number";
  bar.hidden = !hasShare;
  bar.firstElementChild.style.width = 100 * (hasShare ? message.share : 0) + "%";
  find(".notice").title = message.text;
});
