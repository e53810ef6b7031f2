import { curveByRank } from "./curve_points.js";
import { CHANNELS, draw, rowsOf } from "./drawing.js";
import { Run } from "./payload.js";
import { text } from "./texts.js";

/** Heights in pixels of the page: of the header, of a note, of the histograms, of a reference alone; and what is around. */
const [HEADER, NOTE, BODY, REFERENCE, MARGIN] = [22, 30, 226, 96, 10];

/**
 * The panel of a node: a header that folds, what the run has to tell, and the histograms.
 *
 * What is folded stands in `node.properties.histograms`, so that it is saved, and so that the node knows before it measures.
 */
export class Panel {
  /**
   * @param {any} node
   * @param {boolean} histograms whether there are any, not only notes
   * @param {((node: any, run: Run, index: number) => void) | null} onCurves takes the curves of a frame, where something can
   */
  constructor(node, histograms, onCurves) {
    this.node = node;
    this.histograms = histograms;
    this.onCurves = onCurves;
    /** @type {Run | null} */
    this.run = null;
    /** @type {string[]} */
    this.notes = [];
    this.shown = 0;
    this.element = make("div", "histogram-match");
    this.header = button("", "", false, () => this.fold(this.unfolded));
    this.header.className = "histogram-match-header";
    this.list = make("ul", "histogram-match-notes");
    this.body = make("div", "histogram-match-body");
    // Else the page would drag the node with the slider.
    this.body.addEventListener("pointerdown", (event) => event.stopPropagation());
    this.canvas = /** @type {HTMLCanvasElement} */ (make("canvas", "histogram-match-canvas"));
    this.element.append(...(histograms ? [this.header, this.list, this.body] : [this.list]));
    const height = () => (this.height ? this.height + 2 * MARGIN : 0);
    this.widget = node.addDOMWidget("histograms", "histogram_match", this.element, {
      getMinHeight: height,
      getMaxHeight: () => (this.unfolded ? undefined : height()),
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
    const body = this.unfolded ? (this.run && !this.run.message.frames.length ? REFERENCE : BODY) : 0;
    return (this.histograms ? HEADER : 0) + NOTE * this.notes.length + body;
  }

  /** @returns {import("./drawing.js").Channel} */
  get channel() {
    const channel = this.node.properties.histograms_channel;
    return CHANNELS.includes(channel) ? channel : "rgb";
  }

  get logarithmic() {
    return Boolean(this.node.properties.histograms_log);
  }

  /** @param {boolean} folded */
  fold(folded) {
    this.resize(() => (this.node.properties.histograms = !folded), true);
    this.node.graph?.afterChange?.();
  }

  /** Shows what a run has told, or that there is nothing. @param {any} output what the node has sent to the page */
  take(output) {
    const message = output?.histogram_match?.[0];
    if (message !== this.run?.message) this.run = message ? new Run(message) : null;
    this.shown = Math.min(this.shown, Math.max(0, (message?.frames.length ?? 1) - 1));
    const notes = output?.histogram_match_notes ?? [];
    if (notes.length !== this.notes.length) this.resize(() => (this.notes = notes), false);
    this.notes = notes;
    this.update();
  }

  /** Changes what is shown, and the node's height. @param {() => void} change @param {boolean} folding whether the user does it */
  resize(change, folding) {
    const before = this.height;
    change();
    this.update();
    const [width, height] = this.node.size;
    const least = this.node.computeSize();
    // A saved node has room for its notes already, before they are there again.
    const grown = folding ? this.height - before : Math.min(0, this.height - before);
    this.node.setSize([Math.max(width, least[0]), Math.max(height + grown, least[1])]);
    this.node.setDirtyCanvas?.(true, true);
  }

  /** Makes all elements anew, but for the canvas. */
  update() {
    this.element.style.setProperty("--comfy-widget-min-height", `${this.height}`);
    this.element.style.minHeight = `${this.height}px`;
    this.header.textContent = `${this.unfolded ? "▾" : "▸"} ${text("histograms")}`;
    this.header.title = text(this.unfolded ? "fold" : "unfold") ?? "";
    this.list.replaceChildren(...this.notes.map((note) => make("li", "", `⚠ ${note}`, note)));
    this.body.hidden = !this.unfolded;
    if (!this.unfolded) return;
    if (!this.run) this.body.replaceChildren(make("p", "histogram-match-empty", text("empty")));
    else if (!this.run.message.frames.length) this.body.replaceChildren(this.kept(this.run), this.canvas);
    else this.body.replaceChildren(this.controls(), this.canvas, this.figures(this.run), ...this.slider(this.run));
    this.paint();
  }

  /** Draws the frame that is chosen. */
  paint() {
    if (!this.unfolded || !this.run) return;
    const frame = this.run.frame(this.shown);
    const { source, result, reference } = frame ?? { reference: this.run.reference(0) };
    const strips = Object.entries({ source, result, reference }).flatMap(([name, bars]) =>
      bars ? [{ label: text(name) ?? name, bars }] : [],
    );
    const curves = frame?.source.map((bars, row) => curveByRank(bars, frame.result[row]));
    draw(this.canvas, strips, curves, this.channel, this.logarithmic);
    // For tests, which cannot read bars off a canvas.
    this.widget.drawn = { frame, strips, channel: this.channel, logarithmic: this.logarithmic, at: performance.now() };
  }

  /** @returns {HTMLElement} the choice of channel and scale, and what takes the curves */
  controls() {
    const choose = (/** @type {string} */ name, /** @type {any} */ value) => () => {
      this.node.properties[name] = value;
      this.update();
    };
    const row = make("div", "histogram-match-row");
    for (const channel of CHANNELS) {
      const short = text(channel === "rgb" ? channel : `${channel}Short`);
      row.append(button(short, text(channel), channel === this.channel, choose("histograms_channel", channel)));
    }
    const scale = text(this.logarithmic ? "log" : "linear");
    row.append(button(scale, text("scale"), this.logarithmic, choose("histograms_log", !this.logarithmic)));
    const copy = () => this.run && this.onCurves?.(this.node, this.run, this.shown);
    if (this.onCurves) row.append(make("span", "histogram-match-space"), button(text("toCurves"), text("toCurvesHint"), false, copy));
    return row;
  }

  /** @param {Run} run @returns {HTMLElement} distances and clipped pixels of the frame that is chosen */
  figures(run) {
    const frame = /** @type {import("./payload.js").Frame} */ (run.frame(this.shown));
    const rows = rowsOf(this.channel);
    const mean = (/** @type {number[]} */ values) => rows.reduce((sum, row) => sum + values[row], 0) / rows.length;
    const percent = (/** @type {number[]} */ values) => `${(100 * mean(values)).toFixed(1)} %`;
    const [before, after] = [frame.before, frame.after].map((values) => (255 * mean(values)).toFixed(1));
    const line = make("div", "histogram-match-row histogram-match-figures");
    if (frame.reference) line.append(make("span", "", text("distance", before, after), text("distanceHint")));
    line.append(make("span", "", text("clipped", percent(frame.black), percent(frame.white)), text("clippedHint")));
    if (run.message.sampled) line.append(make("span", "", "≈", text("sampled")));
    return line;
  }

  /** @param {Run} run @returns {HTMLElement[]} what chooses the frame, if there are several */
  slider(run) {
    const { frames, total } = run.message;
    if (frames.length < 2) return [];
    const row = make("label", "histogram-match-row");
    const input = /** @type {HTMLInputElement} */ (make("input"));
    Object.assign(input, { type: "range", min: 0, max: frames.length - 1, value: this.shown });
    const told = make("span", "histogram-match-figures", text("frame", frames[this.shown] + 1, total));
    input.addEventListener("input", () => {
      this.shown = Number(input.value);
      told.textContent = text("frame", frames[this.shown] + 1, total) ?? "";
      row.previousElementSibling?.replaceWith(this.figures(run));
      this.paint();
    });
    row.append(input, told);
    return [row];
  }

  /** @param {Run} run @returns {HTMLElement} how many pictures a reference holds, and where it is kept */
  kept(run) {
    const { pictures = 1, path } = run.message;
    const held = pictures === 1 ? text("picture") : text("pictures", pictures);
    return make("div", "histogram-match-figures", path ? `${held}, ${text("kept", path)}` : held, path);
  }
}

/** @param {string} tag @param {string} name of its class @param {string} [content] @param {string} [hint] */
function make(tag, name = "", content = undefined, hint = "") {
  const element = document.createElement(tag);
  element.className = name;
  element.title = hint;
  if (content !== undefined) element.textContent = content;
  return element;
}

/** @param {string | undefined} label @param {string | undefined} hint @param {boolean} pressed @param {() => void} onClick */
function button(label, hint, pressed, onClick) {
  const made = make("button", "", label, hint);
  made.setAttribute("type", "button");
  made.setAttribute("aria-pressed", `${pressed}`);
  made.addEventListener("click", onClick);
  return made;
}
