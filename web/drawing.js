/**
 * Draws histograms and transfer curves on a canvas, in the colors of the page's theme.
 *
 * @typedef {import("./payload.js").Frame} Frame
 * @typedef {"rgb" | "red" | "green" | "blue" | "luminance"} Channel
 * @typedef {{text: string, dim: string, border: string, back: string, light: boolean}} Theme
 */

const LETTERS = 10;
const GAP = 4;
const CHANNELS = ["red", "green", "blue", "luminance"];
/** Below this part of the tallest bar, nothing is seen in a logarithmic plot. */
const LOWEST = 1e-4;

/**
 * @param {Channel} channel
 * @returns {number[]} rows of a frame
 */
export function rowsOf(channel) {
  return channel === "rgb" ? [0, 1, 2] : [CHANNELS.indexOf(channel)];
}

/**
 * @param {HTMLElement} element
 * @returns {Theme}
 */
export function themeOf(element) {
  const style = getComputedStyle(element);
  const color = (/** @type {string} */ name, /** @type {string} */ other) => style.getPropertyValue(name).trim() || other;
  const text = color("--fg-color", "#ffffff");
  return {
    text,
    dim: color("--descrip-text", "#999999"),
    border: color("--border-color", "#4e4e4e"),
    back: color("--comfy-input-bg", "#222222"),
    light: brightness(text) < 0.5,
  };
}

/**
 * Draws strips of histograms one below the other, and the transfer curve beside them.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {{label: string, bars: Float64Array[]}[]} strips each of four rows
 * @param {Uint8Array[] | null} curves
 * @param {Channel} channel
 * @param {boolean} logarithmic
 */
export function draw(canvas, strips, curves, channel, logarithmic) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width || !height) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.scale(ratio, ratio);
  const theme = themeOf(canvas);
  const side = curves ? Math.min(height, width * 0.42) : 0;
  const wide = width - (curves ? side + GAP : 0);
  const high = (height - GAP * (strips.length - 1)) / strips.length;
  strips.forEach(({ label, bars }, index) => {
    const box = { left: 0, top: index * (high + GAP), width: wide, height: high };
    field(context, theme, box);
    drawBars(context, theme, box, bars, channel, logarithmic);
    letter(context, theme, label, box);
  });
  if (curves) {
    drawCurves(context, theme, { left: wide + GAP, top: (height - side) / 2, width: side, height: side }, curves, channel);
  }
}

/** @typedef {{left: number, top: number, width: number, height: number}} Box */

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Theme} theme
 * @param {Box} box
 */
function field(context, theme, box) {
  context.fillStyle = theme.back;
  context.fillRect(box.left, box.top, box.width, box.height);
  context.strokeStyle = theme.border;
  context.lineWidth = 1;
  context.globalAlpha = 0.6;
  context.beginPath();
  for (const part of [0.25, 0.5, 0.75]) {
    const at = Math.round(box.left + part * box.width) + 0.5;
    context.moveTo(at, box.top);
    context.lineTo(at, box.top + box.height);
  }
  context.stroke();
  context.globalAlpha = 1;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Theme} theme
 * @param {string} label
 * @param {Box} box
 */
function letter(context, theme, label, box) {
  context.font = `${LETTERS}px sans-serif`;
  context.textBaseline = "top";
  context.fillStyle = theme.dim;
  context.fillText(label, box.left + 4, box.top + 3);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Theme} theme
 * @param {Box} box
 * @param {Float64Array[]} rows
 * @param {Channel} channel
 * @param {boolean} logarithmic
 */
function drawBars(context, theme, box, rows, channel, logarithmic) {
  const chosen = rowsOf(channel);
  // A few bars may be many times as tall as all others: black borders, a white sky. They are cut off.
  const tallest = Math.max(...chosen.map((row) => crest(rows[row])));
  if (!tallest) return;
  // Where channels lie over each other, their colors add up to white in a dark theme, and to black in a light one.
  context.globalCompositeOperation = chosen.length > 1 ? (theme.light ? "multiply" : "lighter") : "source-over";
  for (const row of chosen) {
    const step = box.width / rows[row].length;
    context.fillStyle = colorOf(row, theme);
    context.globalAlpha = chosen.length > 1 ? 0.75 : 0.9;
    context.beginPath();
    context.moveTo(box.left, box.top + box.height);
    rows[row].forEach((share, bin) => {
      const part = share / tallest;
      const scaled = logarithmic ? Math.max(0, 1 - Math.log(Math.max(part, LOWEST)) / Math.log(LOWEST)) : part;
      const top = box.top + box.height * (1 - Math.min(1, scaled) * 0.96);
      context.lineTo(box.left + bin * step, top);
      context.lineTo(box.left + (bin + 1) * step, top);
    });
    context.lineTo(box.left + box.width, box.top + box.height);
    context.fill();
  }
  context.globalAlpha = 1;
  context.globalCompositeOperation = "source-over";
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Theme} theme
 * @param {Box} box
 * @param {Uint8Array[]} curves
 * @param {Channel} channel
 */
function drawCurves(context, theme, box, curves, channel) {
  field(context, theme, box);
  const line = (/** @type {ArrayLike<number>} */ levels) => {
    context.beginPath();
    Array.from(levels).forEach((level, index) => {
      const x = box.left + (index / (levels.length - 1)) * box.width;
      context.lineTo(x, box.top + box.height * (1 - level / 255));
    });
    context.stroke();
  };
  context.strokeStyle = theme.border;
  line([0, 255]);
  context.lineWidth = 1.6;
  for (const row of rowsOf(channel)) {
    context.strokeStyle = colorOf(row, theme);
    line(curves[row]);
  }
}

/**
 * @param {Float64Array} row
 * @returns {number} the height that all but the tallest hundredth of the bars are below
 */
function crest(row) {
  const sorted = Float64Array.from(row).sort();
  return sorted[Math.ceil(sorted.length * 0.99) - 1] || sorted[sorted.length - 1];
}

/**
 * @param {number} row
 * @param {Theme} theme
 */
function colorOf(row, theme) {
  const dark = ["#e5484d", "#35b36a", "#4a8cff", theme.text];
  const light = ["#e5686c", "#5cc98a", "#6ea2ff", theme.text];
  return (theme.light ? light : dark)[row];
}

/**
 * @param {string} color as a canvas takes it
 * @returns {number} 0 black to 1 white
 */
function brightness(color) {
  const context = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  context.fillStyle = color;
  const digits = /^#(..)(..)(..)$/.exec(`${context.fillStyle}`);
  return digits ? digits.slice(1).reduce((sum, part) => sum + parseInt(part, 16), 0) / 765 : 1;
}
