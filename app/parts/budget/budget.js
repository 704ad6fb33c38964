const WIDTH = 300, HEIGHT = 54;
let isFitPrune = true; // on one of the sides
let other = ""; // the model whose result is shown, where it is not the page's
let isTaken = true; // by one of them: the original and a visitor's recipe take none

// On a phone the note takes the room of a button, that the answers stay in sight.
const info = infoButton("this budget", "");
find(".prediction").after(info);

function steps(tokens, most) {
  const across = WIDTH / tokens.length;
  const y = (count) => (HEIGHT - 1 - (HEIGHT - 5) * count / most).toFixed(2);
  return "M0 " + y(tokens[0]) + tokens.map((count, layer) => "V" + y(count) + "H" + ((layer + 1) * across).toFixed(2)).join("");
}

function show(percent) {
  const plans = props.value;
  if (!plans) return;
  const at = Math.min(Math.max(0, Math.round(percent) || 0), plans.tokens.length - 1);
  const tokens = plans.tokens[at], last = tokens[tokens.length - 1], all = plans.num_visual_tokens;
  const line = steps(tokens, all);
  find(".line").setAttribute("d", line);
  find(".area").setAttribute("d", line + "V" + HEIGHT + "H0Z");
  setText(find(".last"), "layer " + tokens.length);
  setText(find(".whose"), other && "The result is of " + other + ". A run here is of " + plans.model + ":");
  const isPlanned = isTaken && at > 0, plan = isFitPrune ? ", " + writeCount(last) + " of " + writeCount(all) + " tokens left" : "";
  setText(find(".begin"), isPlanned ? "Predicted: " : "");
  setText(find(".plan"), !isTaken ? "Neither side goes by this budget." : at === 0 ? "Keeps all " + writeCount(all) + " visual tokens in every layer."
    : "−" + (100 * plans.saving[at]).toFixed(1) + " % visual FLOPs" + plan);
  setText(find(".end"), !isPlanned ? "" : isFitPrune ? " at the end." : ". Which tokens go where is the method's own plan.");
  const note = isFitPrune && !other ? plans.notes[at] : "";
  setText(find(".note"), note);
  find(".note").hidden = other || !plans.notes.some(Boolean); // a slot only where a budget has something to say
  info.dataset.about = note;
  info.hidden = !note;
  find(".budget").classList.toggle("other", !isFitPrune);
  element.dataset.percent = at;
}

onPage(window, "fitprune:budget", (event) => show(event.detail));
// The plan and the evaluation are FitPrune's: they say nothing of another method.
onPage(window, "fitprune:asked", ({ detail }) => {
  if (!("sides" in detail)) return;
  isTaken = detail.takesBudget;
  isFitPrune = isTaken && detail.sides.split("|").slice(0, 2).includes("fitprune");
  if ("percent" in element.dataset) show(Number(element.dataset.percent));
});
// The plan and the evaluation are those of the page's model: of another's result they say nothing.
onPage(window, "fitprune:shown", () => {
  const { board } = window.fpShown, isOther = board && board.state === "done" && board.model && props.value && board.model !== props.value.model;
  const name = isOther ? board.model : "";
  if (name === other) return;
  other = name;
  show(Number(element.dataset.percent));
});
onValue((plans) => show(plans.percent));
