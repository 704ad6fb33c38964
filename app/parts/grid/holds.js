// How far an answer holds. Pure: cells in, a budget or nothing out.

// The largest budget up to which every answer is the original's: { percent, isWhole }, isWhole where no budget changed it;
// null where the first budget already did, or is not answered yet. cells: in the order of `percents`, which may be any.
function holdsUpTo(percents, cells) {
  const order = percents.map((percent, at) => ({ percent, cell: cells[at] })).sort((a, b) => a.percent - b.percent);
  let held = null;
  for (const { percent, cell } of order) {
    if (!cell || !cell.same) return held === null ? null : { percent: held, isWhole: false };
    held = percent;
  }
  return held === null ? null : { percent: held, isWhole: true };
}

// Whether an answer comes back at a larger budget after a smaller one changed it: then a limit says little.
function comesBack(percents, cells) {
  const order = percents.map((percent, at) => ({ percent, cell: cells[at] })).sort((a, b) => a.percent - b.percent);
  const first = order.findIndex(({ cell }) => cell && !cell.same);
  return first >= 0 && order.slice(first).some(({ cell }) => cell && cell.same);
}

if (typeof module !== "undefined") module.exports = { comesBack, holdsUpTo };
