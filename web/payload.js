/**
 * Reads what a node has told of a run: see `plots/panel_message.py`, which writes it.
 *
 * @typedef {object} Message
 * @property {number} bins
 * @property {number} total
 * @property {number[]} frames
 * @property {boolean} sampled
 * @property {string} data
 * @property {string} references
 * @property {number[] | null} reference_of
 * @property {number} [pictures]
 * @property {string} [path]
 *
 * @typedef {object} Frame Of each four rows: red, green, blue, luminance.
 * @property {Float64Array[]} source shares of all pixels, by bins
 * @property {Float64Array[]} result
 * @property {Float64Array[] | null} reference
 * @property {Uint8Array[]} curves levels that levels have become, half as many as bins, evenly from black to white
 * @property {number[]} before the distance W1 to the reference, of 1
 * @property {number[]} after
 * @property {number[]} black the part of the result's pixels that is black
 * @property {number[]} white
 */

const NUMBERS = 24;

/** A run, of which frames are decoded when they are looked at. */
export class Run {
  /** @param {Message} message */
  constructor(message) {
    this.message = message;
    this.bins = message.bins;
    this.frames = message.frames;
    this.total = message.total;
    this.sampled = message.sampled;
    this.data = bytesOf(message.data);
    this.references = bytesOf(message.references);
  }

  /**
   * @param {number} index among the frames that are there
   * @returns {Frame | null} null for a reference alone
   */
  frame(index) {
    if (!this.frames.length) return null;
    const start = index * (2 * NUMBERS + 10 * this.bins);
    const numbers = numbersAt(this.data, start, NUMBERS);
    const four = (/** @type {number} */ n) => numbers.slice(4 * n, 4 * n + 4);
    const codes = start + 2 * NUMBERS;
    const curves = codes + 8 * this.bins;
    const points = this.bins / 2;
    const number = this.message.reference_of?.[index];
    return {
      source: barsAt(this.data, codes, this.bins, four(0)),
      result: barsAt(this.data, codes + 4 * this.bins, this.bins, four(1)),
      reference: number === undefined || number === null ? null : this.reference(number),
      curves: [0, 1, 2, 3].map((row) => this.data.slice(curves + row * points, curves + (row + 1) * points)),
      before: four(2),
      after: four(3),
      black: four(4),
      white: four(5),
    };
  }

  /**
   * @param {number} number among the different references
   * @returns {Float64Array[]}
   */
  reference(number) {
    const start = number * (8 + 4 * this.bins);
    return barsAt(this.references, start + 8, this.bins, numbersAt(this.references, start, 4));
  }
}

/** @param {string} text in base64 */
function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/**
 * @param {Uint8Array} bytes
 * @param {number} start
 * @param {number} count of 16-bit numbers, little endian, of which 65535 is 1
 */
function numbersAt(bytes, start, count) {
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, 2 * count);
  return Array.from({ length: count }, (_, index) => view.getUint16(2 * index, true) / 65535);
}

/**
 * @param {Uint8Array} bytes
 * @param {number} start
 * @param {number} bins
 * @param {number[]} peaks of the four rows
 */
function barsAt(bytes, start, bins, peaks) {
  return peaks.map((peak, row) =>
    Float64Array.from({ length: bins }, (_, bin) => peak * (bytes[start + row * bins + bin] / 255) ** 2),
  );
}
