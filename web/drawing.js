/**
 * Draws histograms and transfer curves on a canvas, in the colors of the page's theme.
 *
 * @typedef {"rgb" | "red" | "green" | "blue" | "luminance"} Channel
 * @typedef {{text: string, dim: string, border: string, back: string, light: boolean}} Theme
 * @typedef {{left: number, top: number, width: number, height: number}} Box
 * @typedef {CanvasRenderingContext2D} Context
 */

export const CHANNELS = /** @type {Channel[]} */ (["rgb", "red", "green", "blue", "luminance"]);
const GAP = 4;
/** Below this part of the tallest bar, nothing is seen in a logarithmic plot. */
const LOWEST = 1e-4;

/** @param {Channel} channel @returns {number[]} rows of a frame */
export function rowsOf(channel) {
  return channel === "rgb" ? [0, 1, 2] : [CHANNELS.indexOf(channel) - 1];
}

/** @param {HTMLCanvasElement} canvas @param {Context} context @returns {Theme} */
function themeOf(canvas, context) {
  const style = getComputedStyle(canvas);
  const [text, dim, border, back] = ["--fg-color", "--descrip-text", "--border-color", "--comfy-input-bg"].map((name) =>
    style.getPropertyValue(name).trim(),
  );
  context.fillStyle = text;
  // A canvas writes colors as #rrggbb, however they came.
  return { text, dim, border, back, light: parseInt(`${context.fillStyle}`.slice(1, 3), 16) < 128 };
}

/**
 * Draws strips of histograms one below the other, and the transfer curves beside them.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {{label: string, bars: Float64Array[]}[]} strips each of four rows
 * @param {number[][] | undefined} curves levels of 255, evenly from black to white
 * @param {Channel} channel
 * @param {boolean} logarithmic
 */
export function draw(canvas, strips, curves, channel, logarithmic) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width || !height) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = /** @type {Context} */ (canvas.getContext("2d"));
  context.scale(ratio, ratio);
  const theme = themeOf(canvas, context);
  const side = curves ? Math.min(height, width * 0.42) : 0;
  const wide = width - (curves ? side + GAP : 0);
  const high = (height - GAP * (strips.length - 1)) / strips.length;
  strips.forEach(({ label, bars }, index) => {
    const box = { left: 0, top: index * (high + GAP), width: wide, height: high };
    drawField(context, theme, box);
    drawBars(context, theme, box, bars, rowsOf(channel), logarithmic);
    context.font = "10px sans-serif";
    context.textBaseline = "top";
    context.fillStyle = theme.dim;
    context.fillText(label, box.left + 4, box.top + 3);
  });
  const box = { left: wide + GAP, top: (height - side) / 2, width: side, height: side };
  if (curves) drawCurves(context, theme, box, curves, rowsOf(channel));
}

/** @param {Context} context @param {Theme} theme @param {Box} box */
function drawField(context, theme, box) {
  context.fillStyle = theme.back;
  context.fillRect(box.left, box.top, box.width, box.height);
  context.fillStyle = theme.border;
  context.globalAlpha = 0.6;
  for (const part of [0.25, 0.5, 0.75]) context.fillRect(Math.round(box.left + part * box.width), box.top, 1, box.height);
  context.globalAlpha = 1;
}

/** @param {Context} context @param {Theme} theme @param {Box} box @param {Float64Array[]} bars @param {number[]} rows @param {boolean} log */
function drawBars(context, theme, box, bars, rows, log) {
  // A few bars may be many times as tall as all others: black borders, a white sky. They are cut off.
  const tallest = Math.max(...rows.map((row) => crest(bars[row])));
  if (!tallest) return;
  const bottom = box.top + box.height;
  // Where channels lie over each other, their colors add up to white in a dark theme, and to black in a light one.
  context.globalCompositeOperation = rows.length > 1 ? (theme.light ? "multiply" : "lighter") : "source-over";
  context.globalAlpha = rows.length > 1 ? 0.75 : 0.9;
  for (const row of rows) {
    context.fillStyle = colorOf(row, theme);
    const step = box.width / bars[row].length;
    bars[row].forEach((share, bin) => {
      const part = share / tallest;
      const scaled = log ? Math.max(0, 1 - Math.log(Math.max(part, LOWEST)) / Math.log(LOWEST)) : part;
      const height = box.height * Math.min(1, scaled) * 0.96;
      // From edge to edge in whole pixels of the page, so that bars do not overlap.
      const [first, last] = [bin, bin + 1].map((edge) => Math.round(2 * edge * step) / 2);
      context.fillRect(box.left + first, bottom - height, last - first, height);
    });
  }
  context.globalAlpha = 1;
  context.globalCompositeOperation = "source-over";
}

/** @param {Context} context @param {Theme} theme @param {Box} box @param {number[][]} curves @param {number[]} rows */
function drawCurves(context, theme, box, curves, rows) {
  drawField(context, theme, box);
  const line = (/** @type {ArrayLike<number>} */ levels, /** @type {string} */ color, /** @type {number} */ width) => {
    context.beginPath();
    Array.from(levels).forEach((level, index) => {
      context.lineTo(box.left + (index / (levels.length - 1)) * box.width, box.top + box.height * (1 - level / 255));
    });
    context.strokeStyle = color;
    context.lineWidth = width;
    context.stroke();
  };
  line([0, 255], theme.border, 1);
  for (const row of rows) line(curves[row], colorOf(row, theme), 1.6);
}

/** @param {Float64Array} row @returns {number} the height that all but the tallest hundredth of the bars are below */
function crest(row) {
  const sorted = Float64Array.from(row).sort();
  return sorted[Math.ceil(sorted.length * 0.99) - 1] || sorted[sorted.length - 1];
}

/** @param {number} row @param {Theme} theme */
function colorOf(row, theme) {
  return [...(theme.light ? ["#e5686c", "#5cc98a", "#6ea2ff"] : ["#e5484d", "#35b36a", "#4a8cff"]), theme.text][row];
}
