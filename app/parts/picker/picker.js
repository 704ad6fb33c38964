onValue((value) => {
  const picker = find(".picker"), hasNotes = value.choices.some((choice) => choice.note);
  setText(find(".heading"), value.heading);
  find(".heading").hidden = !value.heading;
  if (value.heading) picker.setAttribute("aria-label", value.heading);
  picker.classList.toggle("noted", hasNotes);
  picker.replaceChildren(...value.choices.map((choice, index) => {
    const button = make("button");
    button.type = "button";
    button.title = choice.title;
    const picture = make("img");
    picture.src = choice.thumbnail;
    picture.alt = choice.title;
    button.append(picture);
    if (choice.note) button.append(make("span", "note", choice.note));
    button.addEventListener("click", () => trigger("pick", { index }));
    return button;
  }));
});
