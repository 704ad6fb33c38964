// Draws the picture and what pruning did to it on a canvas.

// The page's colours, read once a repaint, so that they follow light and dark.
function palette() {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(name).trim();
  return { veil: read("--fp-veil"), hatch: read("--fp-hatch"), wash: read("--fp-wash"),
    unseen: read("--fp-unseen"), grid: read("--fp-grid"), accent: read("--fp-accent") };
}

// A tile of slanted lines; `gap` in device pixels.
function hatching(context, color, gap, slant) {
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
  return context.createPattern(tile, "repeat");
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

// options: {layer, mode, tokens, marked}. Returns where the picture came to lie, in device pixels.
function paintPicture(canvas, trace, picture, options) {
  const context = canvas.getContext("2d");
  const colors = palette(), gap = Math.max(5, Math.round(canvas.width / 60));
  const place = fitInside(trace.width, trace.height, canvas.width, canvas.height);
  const at = placer(place);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, ...at([0, 0, trace.width, trace.height]));
  paintUnseen(context, trace, at, colors, gap);
  const hatch = hatching(context, colors.hatch, gap, 1);
  for (const index of options.tokens) paintToken(context, trace, index, at(trace.boxes[index]), options, colors, hatch);
  context.strokeStyle = colors.grid;
  context.lineWidth = 1;
  for (const index of options.tokens) {
    const [x, y, width, height] = at(trace.boxes[index]);
    if (width > 6) context.strokeRect(x + 0.5, y + 0.5, width, height);
  }
  if (options.marked >= 0) outline(context, at(trace.boxes[options.marked]), colors.accent, gap);
  return place;
}

function paintToken(context, trace, index, box, options, colors, hatch) {
  const layer = trace.dropped_after[index];
  if (options.mode === "heat") {
    if (layer < trace.layers) {
      context.fillStyle = layerColor(layer, trace.layers, 0.86);
      context.fillRect(...box);
    }
    return;
  }
  if (isKept(trace, index, options.layer)) return;
  context.fillStyle = layer === options.layer ? layerColor(layer, trace.layers, 0.62) : colors.veil;
  context.fillRect(...box);
  context.fillStyle = hatch;
  context.fillRect(...box);
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

function outline(context, [x, y, width, height], color, gap) {
  context.strokeStyle = color;
  context.lineWidth = Math.max(2, gap / 3);
  context.strokeRect(x, y, width, height);
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
