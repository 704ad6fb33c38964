// Fills the exported page in from its data. Texts are set as texts.
{
  const { comparison: c } = DATA, byId = (id) => document.getElementById(id);
  const percent = (share) => (100 * share).toFixed(1) + " %";
  const time = (ms) => (ms === null ? "–" : ms >= 1000 ? (ms / 1000).toPrecision(3) + " s" : ms.toPrecision(3) + " ms");
  const bytes = (count) => (count >= 1e9 ? (count / 1e9).toPrecision(3) + " GB" : (count / 1e6).toPrecision(3) + " MB");
  const sides = [c.against, c].filter((side) => side && side.method !== "original");
  const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
  const painted = (side) => isPainted(side) ? ", painted" : "";
  const savedBy = (side) => percent(side.achieved_reduction) + " of visual FLOPs saved (" + percent(side.reduction) + " asked), ranked by " + side.method
    + (isPainted(side) ? " but for " + writeCount(side.stay.length) + " that were told to stay and " + writeCount(side.go.length) + " to go" : "");
  const nameOfSide = (side) => side.method === "original" ? "Original" : side.method + " " + percent(side.reduction) + painted(side);
  document.title = c.question + " · FitPrune comparison";
  byId("question").textContent = c.question;
  byId("about").textContent = c.model + " · " + c.device + " · " + sides.map(savedBy).join("; ");
  byId("original").textContent = c.original.answer || "(empty answer)";
  byId("pruned").textContent = c.pruned.answer || "(empty answer)";
  byId("original-name").textContent = c.against ? nameOfSide(c.against) : "Original";
  byId("pruned-name").textContent = byId("pruned-column").textContent = nameOfSide(c);
  byId("original-column").textContent = c.against ? nameOfSide(c.against) : "original";
  byId("verdict").textContent = c.agree ? "= Same answer" : "≠ Different answers";
  byId("verdict").className = c.agree ? "same" : "different";
  byId("timing").textContent = [...(c.warnings || []).map(sentence), "Times: " + c.timing].join(" ");
  const rows = [["Visual FLOPs", "visual_gflops", writeGflops, true], ["Total FLOPs", "total_gflops", writeGflops, true], ["Prefill", "prefill_ms", time, false],
    ["Per token", "per_token_ms", time, false], ["KV cache", "kv_cache_bytes", bytes, true], ["Answer tokens", "new_tokens", writeCount, false]];
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
