// Fills the exported page in from its data. Texts are set as texts.
{
  const { comparison: c, judged } = DATA, byId = (id) => document.getElementById(id);
  const percent = (share) => (100 * share).toFixed(1) + " %";
  const time = (ms) => (ms === null ? "–" : ms >= 1000 ? (ms / 1000).toPrecision(3) + " s" : ms.toPrecision(3) + " ms");
  const bytes = (count) => (count >= 1e9 ? (count / 1e9).toPrecision(3) + " GB" : (count / 1e6).toPrecision(3) + " MB");
  const sides = [c.against, c].filter((side) => side && side.method !== "original");
  const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
  const savedBy = (side) => percent(side.achieved_reduction) + " of visual FLOPs saved (" + percent(side.reduction) + " asked), ranked by " + called(side.method)
    + (isPainted(side) ? " but for " + writeCount(side.stay.length) + " that were told to stay and " + writeCount(side.go.length) + " to go" : "");
  // A time that was not measured in turns is that of one run, while whatever else went on.
  const times = [["Prefill", "prefill_ms", time, false], ["Per token", "per_token_ms", time, false]].filter(([, name]) => c.paired[name.replace("_ms", "")]);
  document.title = c.question + " · FitPrune comparison";
  byId("question").textContent = c.question;
  byId("about").textContent = c.model + " · " + c.device + " · " + sides.map(savedBy).join("; ");
  byId("original").textContent = c.original.answer || "(empty answer)";
  byId("pruned").textContent = c.pruned.answer || "(empty answer)";
  sidesOf(c).forEach(([side], at) => {
    const name = ["original", "pruned"][at];
    byId(name + "-name").textContent = byId(name + "-column").textContent = titleOf(side).replace(" %", "\u00a0%");
    byId(name + "-mark").textContent = judged ? MARKS[judged.marks[at]] || "" : "";
  });
  byId("truth").textContent = judged ? judged.truth : "";
  byId("verdict").textContent = c.agree ? "= Same answer" : "≠ Different answers";
  byId("verdict").className = c.agree ? "same" : "different";
  byId("timing").textContent = [...(c.warnings || []).map(sentence), times.length ? "Times: " + c.timing : ""].join(" ");
  const rows = [["Visual FLOPs", "visual_gflops", writeGflops, true], ["Total FLOPs", "total_gflops", writeGflops, true], ...times,
    ["KV cache", "kv_cache_bytes", bytes, true], ["Answer tokens", "new_tokens", writeCount, false]];
  for (const [label, name, write, isCounted] of rows) {
    const a = c.original[name], b = c.pruned[name], line = make("tr");
    // Times differ by chance too; what may be said of them stands in the sentence about them.
    const change = isCounted && a ? (b >= a ? "+" : "−") + Math.abs(100 * (b / a - 1)).toFixed(1) + " %" : "";
    for (const text of [label, write(a), write(b), change]) {
      line.append(make(text === label ? "th" : "td", "", text));
    }
    byId("figures").append(line);
  }
}
