onValue((message) => {
  const isError = message.kind === "error";
  find(".notice").dataset.kind = message.kind;
  setText(find("[role=status]"), isError ? "" : message.text);
  setText(find("[role=alert]"), isError ? message.text : "");
  find(".notice").title = message.text;
});
