const sideOf = (side) => find(".side[data-side=" + side + "]");
const kindOf = (name) => props.value.kinds.find((kind) => kind.name === name) || { name, options: "", takes_budget: true };
const way = (name, options) => name + (options && name !== "original" ? ":" + options.replace(/\s/g, "") : "");

// What is chosen, as `Chosen` has it.
function chosen() {
  const read = (side, part) => sideOf(side).querySelector(part).value;
  const percent = read("left", ".percent");
  return { ...props.value, left: read("left", ".method"), left_options: read("left", ".options"), right: read("right", ".method"),
    right_options: read("right", ".options"), left_percent: percent === "" ? null : Number(percent) };
}

// In words, and for whoever looks whether a result is of other sides (`Sides.key`).
function tell(value) {
  const left = way(value.left, value.left_options), right = way(value.right, value.right_options);
  const takes = { left: kindOf(value.left).takes_budget, right: kindOf(value.right).takes_budget };
  const percent = !takes.left || value.left_percent === null ? "" : String(value.left_percent);
  const named = (method, name) => (kindOf(name).is_recipe ? method : called(method)); // a recipe has its visitor's name
  setText(find(".words"), named(left, value.left) + (percent && " " + percent + " %") + " | " + named(right, value.right));
  for (const [side, name] of [["left", value.left], ["right", value.right]]) {
    sideOf(side).querySelector(".method").title = kindOf(name).about || "";
    const field = sideOf(side).querySelector(".options"), { options } = kindOf(name);
    field.placeholder = options;
    field.closest(".more").hidden = !options;
    sideOf(side).querySelector(".share").dataset.hidden = String(!takes[side]);
  }
  const takesBudget = takes.right || (takes.left && !percent); // that of the slider
  window.dispatchEvent(new CustomEvent("fitprune:asked", { detail: { sides: [left, right, percent].join("|"), takesBudget } }));
}

element.addEventListener("change", (event) => {
  if (event.target.matches(".method")) event.target.closest(".side").querySelector(".options").value = "";
  props.value = chosen();
  tell(props.value);
});

onValue((value) => {
  for (const side of ["left", "right"]) {
    const select = sideOf(side).querySelector(".method");
    select.replaceChildren(...value.kinds.map(({ name, about, is_recipe }) => Object.assign(new Option(is_recipe ? name : called(name), name), { title: about })));
    select.value = value[side];
    const options = sideOf(side).querySelector(".options");
    if (options.value !== value[side + "_options"]) options.value = value[side + "_options"];
  }
  const percent = sideOf("left").querySelector(".percent"), text = value.left_percent === null ? "" : String(value.left_percent);
  if (percent.value !== text) percent.value = text;
  if (value.left !== "original" || value.right !== "fitprune") find("details").open = true;
  tell(value);
});
