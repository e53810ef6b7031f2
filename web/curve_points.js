/** @typedef {[number, number]} Point from 0 to 1 each @typedef {{x: number, y: number, weight: number}[]} Target */

/** How many points there are at most, how near they may be, how far they are moved, in levels, and how often. */
const [MOST, APART, STEPS, ROUNDS] = [12, 1 / 255, [16, 8, 4, 2, 1], 2];
const WAYS = [[0, 0], [0, 1], [0, -1], [1, 0], [-1, 0], [1, 1], [-1, -1]];

/**
 * Points through which ComfyUI's curve widget draws nearly a transfer curve: the best for straight lines, then moved.
 *
 * @param {ArrayLike<number>} curve levels of 255 that those of the bars become
 * @param {ArrayLike<number>} bars of the image's histogram: errors count where pixels are
 * @returns {Point[]} at most a dozen, from black to white
 */
export function fitPoints(curve, bars) {
  const x = (/** @type {number} */ bin) => levelOf(bin, bars.length) / 255;
  const target = Array.from(bars, (share, bin) => ({ x: x(bin), y: curve[bin] / 255, weight: share + 1e-6 }));
  let points = cornersOf(target, MOST).map((level) => /** @type {Point} */ ([target[level].x, target[level].y]));
  for (const step of STEPS) {
    for (let round = 0; round < ROUNDS; round += 1) points.forEach((_, moved) => (points = nearest(moves(points, moved, step / 255), target)));
  }
  return points;
}

/** @param {number} bin @param {number} bins @returns {number} the middle of its levels; black and white for the outer ones */
function levelOf(bin, bins) {
  return bin % (bins - 1) ? ((bin + 0.5) * 256) / bins - 0.5 : bin && 255;
}

/** @param {ArrayLike<number>} source bars @param {ArrayLike<number>} result bars @returns {number[]} levels of the same ranks */
export function curveByRank(source, result) {
  const [before, after] = [source, result].map((bars) => {
    let below = 0;
    return Array.from(bars, (share) => (below += share) - share / 2);
  });
  const there = [...after.keys()].filter((bin) => result[bin] > 0);
  return before.map((rank, bin) => {
    const above = there.findIndex((one) => after[one] >= rank);
    const [low, high] = [there[Math.max(0, above - 1)] ?? bin, there.at(above) ?? bin];
    const part = low < high && above > 0 ? (rank - after[low]) / (after[high] - after[low]) : 1;
    return (1 - part) * levelOf(low, source.length) + part * levelOf(high, source.length);
  });
}

/** @param {Target} target @param {number} count @returns {number[]} levels between which lines are nearest to it: Bellman 1961 */
function cornersOf(target, count) {
  const lines = target.map((_, end) => Float64Array.from({ length: end }, (_, start) => besideLine(target, start, end)));
  // The best ways from black to each level over so many points, and how far they are off.
  let off = lines.map((from) => from[0] ?? 0);
  let ways = target.map((_, end) => (end ? [0, end] : [0]));
  for (let points = 3; points <= count; points += 1) {
    const [shorter, before] = [off.slice(), ways];
    ways = target.map((_, end) => {
      let best = 0;
      for (let start = 1; start < end; start += 1) {
        if (shorter[start] + lines[end][start] < off[end]) [best, off[end]] = [start, shorter[start] + lines[end][start]];
      }
      return best ? [...before[best], end] : before[end];
    });
  }
  return ways[target.length - 1];
}

/** @param {Target} target @param {number} start @param {number} end @returns {number} how far levels between are off a line */
function besideLine(target, start, end) {
  const slope = (target[end].y - target[start].y) / (target[end].x - target[start].x);
  let sum = 0;
  for (let level = start + 1; level < end; level += 1) {
    const { x, y, weight } = target[level];
    sum += weight * Math.abs(target[start].y + slope * (x - target[start].x) - y);
  }
  return sum;
}

/** @param {Point[][]} ways @param {Target} target @returns {Point[]} the way that is nearest to it */
function nearest(ways, target) {
  const off = ways.map((points) => distance(points, target));
  return ways[off.indexOf(Math.min(...off))];
}

/** @param {Point[]} points @param {number} moved @param {number} step @returns {Point[][]} as they are, and with one point moved */
function moves(points, moved, step) {
  const [x, y] = points[moved];
  const [before, after] = [points[moved - 1]?.[0], points[moved + 1]?.[0]];
  return WAYS.map(([right, up]) => {
    // The ends keep their places.
    const inside = before !== undefined && after !== undefined;
    const place = inside ? Math.min(after - APART, Math.max(before + APART, x + right * step)) : x;
    const way = /** @type {Point} */ ([place, Math.min(1, Math.max(0, y + up * step))]);
    return points.map((point, index) => (index === moved ? way : point));
  });
}

/** @param {Point[]} points @param {Target} target @returns {number} how far a monotone cubic is off: Fritsch and Carlson 1980 */
function distance(points, target) {
  const secants = points.slice(1).map(([x, y], index) => (y - points[index][1]) / (x - points[index][0]));
  const slopes = points.map((_, index) => {
    const [before, after] = [secants[index - 1] ?? secants[index], secants[index] ?? secants[index - 1]];
    return before * after > 0 ? (before + after) / 2 : 0;
  });
  secants.forEach((secant, index) => {
    const part = secant ? Math.min(1, (3 * Math.abs(secant)) / Math.hypot(slopes[index], slopes[index + 1])) : 0;
    slopes[index] *= part;
    slopes[index + 1] *= part;
  });
  let [right, sum] = [1, 0];
  for (const { x, y, weight } of target) {
    while (right < points.length - 1 && points[right][0] <= x) right += 1;
    const [x0, y0] = points[right - 1];
    const [x1, y1] = points[right];
    const t = (x - x0) / (x1 - x0);
    const bend = slopes[right - 1] * (1 - t) - slopes[right] * t;
    sum += weight * Math.abs(y0 + (y1 - y0) * t * t * (3 - 2 * t) + (x1 - x0) * t * (1 - t) * bend - y);
  }
  return sum;
}
