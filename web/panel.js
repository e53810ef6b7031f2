import { draw, rowsOf } from "./drawing.js";
import { Run } from "./payload.js";
import { text } from "./texts.js";

/** Heights in pixels of the page. */
const HEADER = 22;
const NOTE = 30;
const BODY = 226;
const REFERENCE = 96;
const MARGIN = 10;
const CHANNELS = /** @type {const} */ (["rgb", "red", "green", "blue", "luminance"]);
const SHORT = { rgb: "rgb", red: "redShort", green: "greenShort", blue: "blueShort", luminance: "luminanceShort" };

/**
 * The panel of a node: a header that folds, what the run has to tell, and the histograms.
 *
 * What is folded stands in `node.properties.histograms`, so that it is saved, and so that the node knows before it measures.
 */
export class Panel {
  /**
   * @param {any} node
   * @param {{histograms: boolean, onCurves: ((node: any, run: Run, index: number) => void) | null}} options whether there are
   * histograms, not only notes, and what takes curves
   */
  constructor(node, { histograms, onCurves }) {
    this.node = node;
    this.histograms = histograms;
    this.onCurves = onCurves;
    /** @type {Run | null} */
    this.run = null;
    /** @type {string[]} */
    this.notes = [];
    this.shown = 0;
    this.element = make("div", "histogram-match");
    this.header = make("button", "histogram-match-header", { type: "button" });
    this.header.addEventListener("click", () => this.fold(this.unfolded));
    this.list = make("ul", "histogram-match-notes");
    this.body = make("div", "histogram-match-body");
    this.canvas = /** @type {HTMLCanvasElement} */ (make("canvas", "histogram-match-canvas"));
    this.element.append(...(histograms ? [this.header, this.list, this.body] : [this.list]));
    for (const name of ["pointerdown", "wheel"]) {
      // Else the canvas of the page would drag the node, or zoom.
      this.body.addEventListener(name, (event) => name !== "wheel" && event.stopPropagation());
    }
    this.widget = node.addDOMWidget("histograms", "histogram_match", this.element, {
      getMinHeight: () => (this.height ? this.height + 2 * MARGIN : 0),
      getMaxHeight: () => (this.unfolded ? undefined : this.height ? this.height + 2 * MARGIN : 0),
      getValue: () => undefined,
      setValue: () => {},
      hideOnZoom: false,
      serialize: false,
    });
    // Else it would take a place among the values of a saved workflow.
    this.widget.serialize = false;
    this.observer = new ResizeObserver(() => this.paint());
    this.observer.observe(this.canvas);
    this.update();
  }

  get unfolded() {
    return this.histograms && Boolean(this.node.properties.histograms);
  }

  get height() {
    const body = this.unfolded ? (this.run && !this.run.frames.length ? REFERENCE : BODY) : 0;
    return (this.histograms ? HEADER : 0) + NOTE * this.notes.length + body;
  }

  /** @param {boolean} folded */
  fold(folded) {
    this.resize(() => {
      this.node.properties.histograms = !folded;
      this.update();
    }, true);
    this.node.graph?.afterChange?.();
  }

  /**
   * Shows what a run has told, or that there is nothing.
   *
   * @param {any} output what the node has sent to the page
   */
  take(output) {
    const message = output?.histogram_match?.[0];
    const run = message ? (message === this.run?.message ? this.run : new Run(message)) : null;
    if (run !== this.run) this.shown = Math.min(this.shown, Math.max(0, (run?.frames.length ?? 1) - 1));
    this.run = run;
    const change = () => {
      this.notes = output?.histogram_match_notes ?? [];
      this.update();
    };
    if (this.notes.length === (output?.histogram_match_notes?.length ?? 0)) change();
    else this.resize(change, false);
  }

  /** Makes all elements anew, but for the canvas. */
  update() {
    this.element.style.setProperty("--comfy-widget-min-height", `${this.height}`);
    this.element.style.minHeight = `${this.height}px`;
    const arrow = this.unfolded ? "▾" : "▸";
    this.header.replaceChildren(make("span", "", {}, `${arrow} ${text("histograms")}`));
    this.header.title = text(this.unfolded ? "fold" : "unfold") ?? "";
    this.list.replaceChildren(...this.notes.map((note) => make("li", "", { title: note }, `⚠ ${note}`)));
    this.body.hidden = !this.unfolded;
    if (!this.unfolded) return;
    if (!this.run) {
      this.body.replaceChildren(make("p", "histogram-match-empty", {}, text("empty")));
      return;
    }
    this.body.replaceChildren(...(this.run.frames.length ? this.controls() : [this.kept()]), this.canvas);
    if (this.run.frames.length) this.body.append(...this.figures());
    this.paint();
  }

  /** Draws the frame that is chosen. */
  paint() {
    if (!this.unfolded || !this.run) return;
    const frame = this.run.frame(this.shown);
    const strips = frame
      ? [
          { label: text("source") ?? "", bars: frame.source },
          { label: text("result") ?? "", bars: frame.result },
          ...(frame.reference ? [{ label: text("reference") ?? "", bars: frame.reference }] : []),
        ]
      : [{ label: text("reference") ?? "", bars: this.run.reference(0) }];
    draw(this.canvas, strips, frame?.curves ?? null, this.channel, this.logarithmic);
    // For tests, which cannot read bars off a canvas.
    this.widget.drawn = { frame, strips, channel: this.channel, logarithmic: this.logarithmic, at: performance.now() };
  }

  get channel() {
    const channel = this.node.properties.histograms_channel;
    return CHANNELS.includes(channel) ? channel : "rgb";
  }

  get logarithmic() {
    return Boolean(this.node.properties.histograms_log);
  }

  /** @returns {HTMLElement[]} the choice of channel, scale and frame */
  controls() {
    const choose = (/** @type {string} */ name, /** @type {any} */ value) => () => {
      this.node.properties[name] = value;
      this.update();
    };
    const row = make("div", "histogram-match-row");
    for (const channel of CHANNELS) {
      row.append(button(text(SHORT[channel]), text(channel), channel === this.channel, choose("histograms_channel", channel)));
    }
    const scale = text(this.logarithmic ? "log" : "linear");
    row.append(button(scale, text("scale"), this.logarithmic, choose("histograms_log", !this.logarithmic)));
    const onCurves = this.onCurves;
    if (onCurves) {
      const copy = () => this.run && onCurves(this.node, this.run, this.shown);
      row.append(make("span", "histogram-match-space"), button(text("toCurves"), text("toCurvesHint"), false, copy));
    }
    return [row];
  }

  /** @returns {HTMLElement[]} distances, clipped pixels, and the slider of a clip */
  figures() {
    const run = /** @type {Run} */ (this.run);
    const frame = /** @type {import("./payload.js").Frame} */ (run.frame(this.shown));
    const mean = (/** @type {number[]} */ values) => {
      const rows = rowsOf(this.channel);
      return rows.reduce((sum, row) => sum + values[row], 0) / rows.length;
    };
    const percent = (/** @type {number[]} */ values) => `${(100 * mean(values)).toFixed(1)} %`;
    const levels = (/** @type {number[]} */ values) => (255 * mean(values)).toFixed(1);
    const line = make("div", "histogram-match-row histogram-match-figures");
    if (frame.reference) {
      const distance = text("distance", levels(frame.before), levels(frame.after));
      line.append(make("span", "", { title: text("distanceHint") ?? "" }, distance));
    }
    const clipped = text("clipped", percent(frame.black), percent(frame.white));
    line.append(make("span", "", { title: text("clippedHint") ?? "" }, clipped));
    if (run.sampled) line.append(make("span", "", { title: text("sampled") ?? "" }, "≈"));
    return run.frames.length > 1 ? [line, this.slider(run)] : [line];
  }

  /**
   * @param {Run} run
   * @returns {HTMLElement} chooses the frame
   */
  slider(run) {
    const row = make("label", "histogram-match-row");
    const input = /** @type {HTMLInputElement} */ (
      make("input", "", { type: "range", min: "0", max: `${run.frames.length - 1}`, value: `${this.shown}` })
    );
    const told = make("span", "histogram-match-figures", {}, text("frame", run.frames[this.shown] + 1, run.total));
    input.addEventListener("input", () => {
      this.shown = Number(input.value);
      told.textContent = text("frame", run.frames[this.shown] + 1, run.total) ?? "";
      row.previousElementSibling?.replaceWith(this.figures()[0]);
      this.paint();
    });
    row.append(input, told);
    return row;
  }

  /** @returns {HTMLElement} how many pictures a reference holds, and where it is kept */
  kept() {
    const { pictures = 1, path } = /** @type {Run} */ (this.run).message;
    const held = pictures === 1 ? text("picture") : text("pictures", pictures);
    return make("div", "histogram-match-figures", { title: path ?? "" }, path ? `${held}, ${text("kept", path)}` : held);
  }

  /**
   * Changes what is shown, and the node's height with the panel's.
   *
   * @param {() => void} change
   * @param {boolean} folding whether the user has folded or unfolded it
   */
  resize(change, folding) {
    const before = this.height;
    change();
    const [width, height] = this.node.size;
    const least = this.node.computeSize();
    // A saved node has room for its notes already, before they are there again.
    const grown = folding ? this.height - before : Math.min(0, this.height - before);
    this.node.setSize([Math.max(width, least[0]), Math.max(height + grown, least[1])]);
    this.node.setDirtyCanvas?.(true, true);
  }

  /** Lets go of what outlives the element. */
  remove() {
    this.observer.disconnect();
  }
}

/**
 * @param {string} tag
 * @param {string} name of its class
 * @param {Record<string, string>} attributes
 * @param {string} [content]
 */
function make(tag, name = "", attributes = {}, content = undefined) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (content !== undefined) element.textContent = content;
  return element;
}

/**
 * @param {string | undefined} label
 * @param {string | undefined} hint
 * @param {boolean} pressed
 * @param {() => void} onClick
 */
function button(label, hint, pressed, onClick) {
  const made = make("button", "", { type: "button", title: hint ?? "", "aria-pressed": `${pressed}` }, label ?? "");
  made.addEventListener("click", onClick);
  return made;
}
