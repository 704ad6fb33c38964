onValue((value) => {
  find(".picker").replaceChildren(...value.choices.map((choice, index) => {
    const button = make("button");
    button.type = "button";
    button.title = choice.title;
    const picture = make("img");
    picture.src = choice.thumbnail;
    picture.alt = choice.title;
    button.append(picture);
    button.addEventListener("click", () => trigger("pick", { index }));
    return button;
  }));
});
