let chosen = -1; // the choice that is shown, as far as that is known

const choicesOf = () => (props.value ? props.value.choices : []);
const nameOf = (choice) => choice.title + (choice.differs ? " ≠ pruning changes the answer" : "");

// Under the strip, the one that is pointed at, or the chosen one; the pictures are too small to tell.
function tellTitle(index = chosen) {
  const choice = choicesOf()[index];
  setText(find(".title"), choice ? choice.title : "");
}

function mark(index) {
  chosen = index;
  element.querySelectorAll(".picker button").forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
  tellTitle();
}

// Which one the result that is shown is of: an example by its link, what was made elsewhere by its question. Where another
// picture has come into its place meanwhile, a scene or a visitor's own, it is no example's any more.
let pictured; // the picture that is there now, once the page has told
function take() {
  const { board } = window.fpShown || {};
  if (!board || board.state !== "done" || !props.value) return;
  const example = new URLSearchParams(board.link).get("example"), index = example === null ? -1 : Number(example);
  if (!props.value.heading && pictured !== undefined && pictured !== board.picture) {
    if (chosen === index) mark(-1); // another one may have been chosen, and its result is still to come
  } else if (!props.value.heading) mark(index);
  else if (board.link || !choicesOf()[chosen] || choicesOf()[chosen].title !== board.question) mark(-1);
}

onValue((value) => {
  const picker = find(".picker"), hasNotes = value.choices.some((choice) => choice.note);
  setText(find(".heading"), value.heading);
  find(".heading").hidden = !value.heading;
  if (value.heading) picker.setAttribute("aria-label", value.heading);
  picker.classList.toggle("noted", hasNotes);
  find(".title").hidden = !value.choices.length;
  picker.replaceChildren(...value.choices.map((choice, index) => {
    const button = make("button");
    button.type = "button";
    button.title = nameOf(choice);
    const picture = make("img");
    picture.src = choice.thumbnail;
    picture.alt = nameOf(choice);
    button.append(picture);
    if (choice.differs) button.append(make("span", "badge", "≠"));
    if (choice.note) button.append(make("span", "note", choice.note));
    button.addEventListener("click", () => { mark(index); trigger("pick", { index }); });
    for (const type of ["pointerenter", "focus"]) button.addEventListener(type, () => tellTitle(index));
    for (const type of ["pointerleave", "blur"]) button.addEventListener(type, () => tellTitle());
    return button;
  }));
  mark(chosen);
  take();
});
onPage(window, "fitprune:shown", take);
onPage(window, "fitprune:own", () => mark(-1));
onPage(window, "fitprune:asked", ({ detail }) => {
  if (!("picture" in detail)) return;
  pictured = detail.picture;
  take();
});
// A file that no browser shows says so in its place; whether the server reads it, a run tells.
onPage(document, "error", ({ target }) => {
  const place = target.closest && target.closest("#picture");
  if (place) place.classList.add("unseen");
}, true);
onPage(document, "load", ({ target }) => {
  const place = target.closest && target.closest("#picture");
  if (place) place.classList.remove("unseen");
}, true);
