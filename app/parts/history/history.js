const dialog = find("dialog"), entries = find(".entries"), beside = find(".beside"), depth = find(".depth input");
const KEY = "fitprune:history";
let columns = [];

// The window keeps the list, because components come and go; the tab keeps it over a reload, as far as it has room.
function kept() {
  if (!window.fpHistory) {
    try { window.fpHistory = JSON.parse(sessionStorage.getItem(KEY)) || []; } catch { window.fpHistory = []; }
  }
  return window.fpHistory;
}

// Without drawing the list anew: a button that is being pressed must stay where it is.
function store(list) {
  window.fpHistory = list;
  try { sessionStorage.setItem(KEY, JSON.stringify(list)); } catch { sessionStorage.removeItem(KEY); /* no room: until a reload */ }
  setText(find(".opener"), list.length ? "History (" + list.length + ")" : "History");
}

function keep(list) {
  store(list);
  if (dialog.open) showList();
}

const chosen = () => [...entries.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value);

function choose() {
  const count = chosen().length;
  find(".both").disabled = count !== 2;
  setText(find(".chosen"), count === 2 ? "Two are chosen." : count > 2 ? "Choose two, not " + count + "." : "Tick two to put them side by side.");
}

function makeEntry(entry) {
  const { comparison, trace } = JSON.parse(entry.text), line = make("li");
  line.dataset.id = entry.id;
  const box = Object.assign(make("input"), { type: "checkbox", value: entry.id });
  box.addEventListener("change", choose);
  const picture = Object.assign(make("img"), { src: trace.image, alt: "" });
  const name = Object.assign(make("input", "name"), { value: entry.name, placeholder: comparison.question, maxLength: 80 });
  const label = () => {
    const called = name.value.trim() || comparison.question;
    box.setAttribute("aria-label", "Choose " + called);
    name.setAttribute("aria-label", "Name of " + called);
  };
  label();
  name.addEventListener("change", () => { store(changed(kept(), entry.id, { name: name.value.trim() })); label(); });
  const when = new Date(entry.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const about = make("p", "about", [when, comparison.model, entry.origin].filter(Boolean).join(" · "));
  const titles = make("p", "about sides", sidesOf(comparison).map(([side]) => titleOf(side)).join(" | "));
  const answers = make("p", "about answers", sidesOf(comparison).map(([, run]) => run.answer || "(empty answer)").join(" | "));
  const pin = button("Pin", "pin", () => keep(changed(kept(), entry.id, { pinned: !entry.pinned })));
  pin.setAttribute("aria-pressed", String(entry.pinned));
  const actions = make("div", "actions");
  actions.append(
    button("Open", "open", () => { dialog.close(); trigger("reopen", { text: entry.text, link: entry.link, picture: entry.picture }); }),
    pin, button("Remove", "remove", () => keep(kept().filter((other) => other.id !== entry.id))),
  );
  const words = make("div", "words");
  words.append(name, about, titles, verdictOf(comparison), answers);
  line.append(box, picture, words, actions);
  return line;
}

function button(text, className, act) {
  const node = make("button", className, text);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
}

// Drawn anew as a whole; the focus goes back to the control that had it, or to one that stays where its entry has gone.
function showList() {
  const ticked = chosen(), had = document.activeElement, id = entries.contains(had) ? had.closest("li").dataset.id : "";
  entries.replaceChildren(...inOrder(kept()).map(makeEntry));
  const line = [...entries.children].find((other) => other.dataset.id === id);
  if (id) (line ? line.querySelector(had.className ? "." + had.className : "[type=checkbox]") : find(".close")).focus();
  for (const box of entries.querySelectorAll("input[type=checkbox]")) box.checked = ticked.includes(box.value);
  find(".none").hidden = kept().length > 0;
  choose();
}

function showBeside(ids) {
  columns = ids.map((id) => makeColumn(kept().find((entry) => entry.id === id)));
  find(".two").replaceChildren(...columns.map(({ column }) => column));
  dialog.classList.toggle("wide", ids.length > 0);
  beside.hidden = !ids.length;
  for (const name of [".about", ".entries", "footer"]) dialog.querySelector(":scope > " + name).hidden = ids.length > 0;
  paintBeside();
}

function paintBeside() {
  for (const { paint } of columns) paint(depth.value / 100);
}

find(".opener").addEventListener("click", () => { showBeside([]); showList(); dialog.showModal(); });
find(".close").addEventListener("click", () => dialog.close());
find(".both").addEventListener("click", () => { showBeside(chosen()); find(".back").focus(); });
find(".back").addEventListener("click", () => { showBeside([]); showList(); find(".both").focus(); });
depth.addEventListener("input", paintBeside);
dialog.addEventListener("pointerdown", (event) => { if (event.target === dialog) dialog.close(); }); // beside the panel
new ResizeObserver(paintBeside).observe(dialog);

keep(kept());
onValue(({ text, link, picture, origin }) => {
  if (text && text !== window.fpRemembered) keep(remember(kept(), { id: crypto.randomUUID ? crypto.randomUUID() : String(Math.random()), at: Date.now(), name: "", pinned: false, text, link, picture, origin }));
  window.fpRemembered = text;
});
