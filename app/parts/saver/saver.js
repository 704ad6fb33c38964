const opener = find(".opener"), items = find(".items");

function show(on) {
  items.hidden = !on;
  opener.setAttribute("aria-expanded", String(on));
}

// Whether there is something to save: a whole result.
function allow() {
  const { board } = window.fpShown || {};
  opener.disabled = !board || board.state !== "done";
  opener.title = opener.disabled ? "There is nothing to save yet: run a comparison first." : "";
  if (opener.disabled) show(false);
}

function wait(on) {
  opener.setAttribute("aria-busy", String(on));
  setText(opener, on ? "Saving…" : "Save");
}

opener.addEventListener("click", () => { if (opener.getAttribute("aria-busy") !== "true") show(items.hidden); });
for (const button of items.querySelectorAll("button")) button.addEventListener("click", () => {
  const scrubber = document.querySelector(".scrubber");
  show(false);
  opener.focus();
  wait(true);
  trigger("save", { ending: button.dataset.ending, layer: Number(scrubber && scrubber.dataset.layer) || 0 });
});
element.addEventListener("keydown", (event) => {
  if (items.hidden) return;
  const buttons = [...items.querySelectorAll("button")], at = buttons.indexOf(document.activeElement);
  if (event.key === "Escape") { show(false); opener.focus(); }
  else if (event.key === "ArrowDown") buttons[(at + 1) % buttons.length].focus();
  else if (event.key === "ArrowUp") buttons[(at <= 0 ? buttons.length : at) - 1].focus();
  else return;
  event.preventDefault();
  event.stopPropagation();
});
onPage(document, "pointerdown", (event) => { if (!element.contains(event.target)) show(false); });
element.addEventListener("focusout", (event) => { if (event.relatedTarget && !element.contains(event.relatedTarget)) show(false); });

onPage(window, "fitprune:shown", allow);
allow();

// Kept by the window: mounted anew, this would hand the last file over again.
onValue(({ name, kind, data, number }) => {
  if (number === window.fpLastSaved) return;
  window.fpLastSaved = number;
  wait(false);
  if (name) saveFile(name, kind, Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)));
});
