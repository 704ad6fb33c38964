const WIDTH = 300, HEIGHT = 54;
let isFitPrune = true; // on one of the sides
let isTaken = true; // by one of them: the original and a visitor's recipe take none

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
  const saved = "Predicted: −" + (100 * plans.saving[at]).toFixed(1) + " % visual FLOPs";
  setText(find(".prediction"), !isTaken ? "Neither side goes by this budget." : at === 0 ? "Keeps all " + all + " visual tokens in every layer."
    : saved + (isFitPrune ? ", " + last + " of " + all + " tokens left at the end." : ". Which tokens go where is the method's own plan."));
  setText(find(".note"), isFitPrune ? plans.notes[at] : "");
  find(".note").hidden = !plans.notes.some(Boolean); // a slot only where a budget has something to say
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
onValue((plans) => show(plans.percent));
