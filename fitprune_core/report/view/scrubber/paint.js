// Draws the picture and what pruning did to it on a canvas.

// The page's colours, read once a repaint, so that they follow light and dark.
function palette() {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(name).trim();
  return { veil: read("--fp-veil"), hatch: read("--fp-hatch"), hereVeil: read("--fp-here-veil"), here: read("--fp-here"), wash: read("--fp-wash"),
    unseen: read("--fp-unseen"), grid: read("--fp-grid"), accent: read("--fp-accent"), ink: read("--fp-ink-2") };
}

// Tiles of slanted lines, each made once; `gap` in device pixels.
const hatchings = new Map();
function hatching(context, color, gap, slant) {
  const key = [color, gap, slant].join(" ");
  if (hatchings.has(key)) return hatchings.get(key);
  const tile = document.createElement("canvas");
  tile.width = tile.height = gap;
  const pen = tile.getContext("2d");
  pen.strokeStyle = color;
  pen.lineWidth = Math.max(1, gap / 7);
  for (const shift of [-gap, 0, gap]) {
    pen.moveTo(shift, slant > 0 ? gap : 0);
    pen.lineTo(shift + gap, slant > 0 ? 0 : gap);
  }
  pen.stroke();
  hatchings.set(key, context.createPattern(tile, "repeat"));
  return hatchings.get(key);
}

// What is the same at every layer is drawn once, for as long as its size and `parts` are the same, and laid under or over.
const drawings = new Map();
function drawnOnce(name, { width, height }, parts, draw) {
  const known = drawings.get(name), key = [width, height, ...parts];
  if (known && key.every((part, index) => part === known.key[index])) return known.canvas;
  const canvas = known ? known.canvas : document.createElement("canvas");
  Object.assign(canvas, { width, height });
  draw(canvas.getContext("2d"));
  drawings.set(name, { canvas, key });
  return canvas;
}

// Sizes the canvas to its box; returns false while it has none.
function sizeCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const across = Math.round(width * ratio), down = Math.round(height * ratio);
  if (!across || !down) return false;
  if (canvas.width !== across) canvas.width = across;
  if (canvas.height !== down) canvas.height = down;
  return true;
}

// Boxes are rounded to device pixels, so that neighbours neither overlap nor leave a gap.
function placer(place) {
  return ([x0, y0, x1, y1]) => {
    const left = Math.round(place.left + x0 * place.scale), top = Math.round(place.top + y0 * place.scale);
    const right = Math.round(place.left + x1 * place.scale), bottom = Math.round(place.top + y1 * place.scale);
    return [left, top, right - left, bottom - top];
  };
}

// Room at the right for the ends of lines, in device pixels, where a model has such tokens.
function gutterOf(canvas, trace) {
  return hasLineEnds(trace) ? Math.round(canvas.width / 24) : 0;
}

// options: {layer, mode, view, tokens, marked, looks, marks}. Returns where the picture came to lie, in device pixels.
function paintPicture(canvas, trace, picture, options) {
  const context = canvas.getContext("2d");
  const colors = palette(), gap = Math.max(5, Math.round(canvas.width / 60));
  const gutter = gutterOf(canvas, trace);
  const place = fitInside(trace.width, trace.height, canvas.width - gutter, canvas.height);
  const at = placer(place);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(drawnOnce("picture", canvas, [trace, picture.src, picture.complete, colors.wash, colors.unseen], (pen) => {
    pen.drawImage(picture, ...at([0, 0, trace.width, trace.height]));
    paintUnseen(pen, trace, at, colors, gap);
  }), 0, 0);
  const boxes = options.tokens.map((index) => at(trace.boxes[index]));
  const gone = { before: [], here: [] };
  boxes.forEach((box, place) => {
    const fate = paintToken(context, trace, options.tokens[place], box, options, colors);
    if (fate) gone[fate].push(box);
  });
  context.drawImage(drawnOnce("lines", canvas, [trace, options.view, colors.grid], (pen) => {
    pen.strokeStyle = colors.grid;
    pen.lineWidth = 1;
    for (const [x, y, width, height] of boxes) if (width > 6) pen.strokeRect(x + 0.5, y + 0.5, width, height);
  }), 0, 0);
  hatchGone(context, gone, colors, gap);
  if (options.view === "tile") for (const tile of trace.tiles) edge(context, at(tile), gap);
  const reach = gutter / place.scale;
  for (const end of lineEndsOf(trace, options.view)) {
    const [x, y, width, height] = at([trace.width, end.top, trace.width + reach, end.bottom]);
    const box = [x + width * 0.3, y + 1, width * 0.6, Math.max(height - 2, 1)];
    paintLineEnd(context, trace, end.index, box, options, colors, gap);
    if (end.index >= 0 && end.index === options.marked) markToken(context, box, 1, colors.accent, gap);
  }
  if (options.mode === "paint") paintMarks(context, trace, at, options.marks);
  if (options.marked >= 0 && trace.boxes[options.marked]) markToken(context, at(trace.boxes[options.marked]), trace.merge, colors.accent, gap);
  return place;
}

// A token that ends a line stands beside it, filled while it is kept, as text always is.
function paintLineEnd(context, trace, index, box, options, colors, gap) {
  context.fillStyle = colors.ink;
  context.fillRect(...box);
  const fate = index < 0 ? "" : paintToken(context, trace, index, box, options, colors);
  if (fate) hatchGone(context, { before: [], here: [], [fate]: [box] }, colors, gap);
}

// What has gone is hatched; what this layer drops more densely, in the accent, with a frame round it: told apart by its form
// on a picture of any colour. After all veils: a pen that changes colour with every token is slow.
function hatchGone(context, { before, here }, colors, gap) {
  context.fillStyle = hatching(context, colors.hatch, gap, 1);
  for (const box of before) context.fillRect(...box);
  context.fillStyle = hatching(context, colors.here, Math.max(4, Math.round(gap / 2)), 1);
  for (const box of here) context.fillRect(...box);
  context.strokeStyle = colors.here;
  context.lineWidth = Math.max(2, gap / 4);
  context.lineCap = "square";
  context.beginPath();
  for (const [x0, y0, x1, y1] of outlineOf(here)) {
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
  }
  context.stroke();
}

// The edge of a tile is dark and light, so that it shows on any picture.
function edge(context, [x, y, width, height], gap) {
  for (const [style, line] of [["rgba(0, 0, 0, 0.7)", Math.max(3, gap / 2)], ["#fff", Math.max(1, gap / 6)]]) {
    context.strokeStyle = style;
    context.lineWidth = line;
    context.strokeRect(x, y, width, height);
  }
}

// Paints what became of a token; returns what is hatched as well: "before" or "here" for when it went, else "".
function paintToken(context, trace, index, box, options, colors) {
  const layer = trace.dropped_after[index];
  if (options.mode === "heat") {
    if (layer < trace.layers && layer <= options.layer) {
      context.fillStyle = heatColor(trace.layers > 1 ? layer / (trace.layers - 1) : 0);
      context.fillRect(...box);
    }
    return "";
  }
  if (options.mode === "looks") {
    const level = options.looks.levels[options.layer][index];
    if (level >= 0) {
      if (!isMap(options.looks, options.layer)) return "";
      context.fillStyle = lookColor(level / 255);
      context.fillRect(...box);
      return "";
    }
  } else if (isKept(trace, index, options.layer)) return "";
  const isHere = layer === options.layer && options.mode !== "looks";
  context.fillStyle = isHere ? colors.hereVeil : colors.veil;
  context.fillRect(...box);
  return isHere ? "here" : "before";
}

function paintUnseen(context, trace, at, colors, gap) {
  const parts = unseenParts(trace.width, trace.height, trace.seen).map(at);
  const crossed = hatching(context, colors.unseen, gap * 2, -1);
  for (const part of parts) {
    context.fillStyle = colors.wash;
    context.fillRect(...part);
    context.fillStyle = crossed;
    context.fillRect(...part);
  }
}

// The marked token is outlined, and the patches that were merged into it are told apart.
function markToken(context, [x, y, width, height], merge, color, gap) {
  context.strokeStyle = color;
  context.lineWidth = Math.max(2, gap / 3);
  context.strokeRect(x, y, width, height);
  context.lineWidth = 1;
  for (let part = 1; part < merge; part++) {
    context.strokeRect(x + Math.round(width * part / merge), y, 0, height);
    context.strokeRect(x, y + Math.round(height * part / merge), width, 0);
  }
}

// A small multiple: the part that the model saw, with what has gone blotted out.
function paintSmall(canvas, trace, picture, layer, tokens) {
  const context = canvas.getContext("2d");
  const [left, top, right, bottom] = trace.seen;
  const place = fitInside(right - left, bottom - top, canvas.width, canvas.height);
  const scaleX = picture.naturalWidth / trace.width, scaleY = picture.naturalHeight / trace.height;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, left * scaleX, top * scaleY, (right - left) * scaleX, (bottom - top) * scaleY,
    place.left, place.top, (right - left) * place.scale, (bottom - top) * place.scale);
  const at = placer({ scale: place.scale, left: place.left - left * place.scale, top: place.top - top * place.scale });
  context.fillStyle = palette().veil;
  for (const index of tokens) if (!isKept(trace, index, layer)) context.fillRect(...at(trace.boxes[index]));
}
