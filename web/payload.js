/**
 * Reads what a node has told of a run: `plots/panel_message.py` writes it, and says what it holds.
 *
 * @typedef {{bins: number, total: number, frames: number[], sampled: boolean, data: string, references: string,
 *   reference_of: number[] | null, pictures?: number, path?: string}} Message
 *
 * @typedef {{source: Float64Array[], result: Float64Array[], reference: Float64Array[] | null,
 *   before: number[], after: number[], black: number[], white: number[]}} Frame Of each four rows: red, green, blue, luminance.
 *   Shares of all pixels by bins; the
 *   distance W1 to the reference, of 1; parts of the result's pixels.
 */

const NUMBERS = 24;

/** A run, of which frames are decoded when they are looked at. */
export class Run {
  /** @param {Message} message */
  constructor(message) {
    this.message = message;
    this.data = bytesOf(message.data);
    this.references = bytesOf(message.references);
  }

  /** @param {number} index among the frames that are there @returns {Frame | null} null for a reference alone */
  frame(index) {
    const { bins, frames, reference_of } = this.message;
    if (!frames.length) return null;
    const start = index * (2 * NUMBERS + 8 * bins);
    const codes = start + 2 * NUMBERS;
    const four = (/** @type {number} */ n) => numbersAt(this.data, start + 8 * n, 4);
    return {
      source: barsAt(this.data, codes, bins, four(0)),
      result: barsAt(this.data, codes + 4 * bins, bins, four(1)),
      reference: reference_of && this.reference(reference_of[index]),
      before: four(2),
      after: four(3),
      black: four(4),
      white: four(5),
    };
  }

  /** @param {number} number among the different references @returns {Float64Array[]} */
  reference(number) {
    const { bins } = this.message;
    const start = number * (8 + 4 * bins);
    return barsAt(this.references, start + 8, bins, numbersAt(this.references, start, 4));
  }
}

/** @param {string} text in base64 */
function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** @param {Uint8Array} bytes @param {number} start @param {number} count of 16-bit numbers, little endian, of which 65535 is 1 */
function numbersAt(bytes, start, count) {
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, 2 * count);
  return Array.from({ length: count }, (_, index) => view.getUint16(2 * index, true) / 65535);
}

/** @param {Uint8Array} bytes @param {number} start @param {number} bins @param {number[]} peaks of the four rows */
function barsAt(bytes, start, bins, peaks) {
  return peaks.map((peak, row) =>
    Float64Array.from({ length: bins }, (_, bin) => peak * (bytes[start + row * bins + bin] / 255) ** 2),
  );
}
