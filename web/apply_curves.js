import { app } from "../../scripts/app.js";
import { curveByRank, fitPoints } from "./curve_points.js";

const TYPE = "ImageCurvesApply";
const DISTANCE = 60;
const CHANNELS = ["red", "green", "blue"];

/** @returns {boolean} whether this ComfyUI has the node Apply Curves */
export function hasCurves() {
  return Boolean(window.LiteGraph?.registered_node_types?.[TYPE]);
}

/**
 * Copies the transfer curves of a frame, as points, into the Apply Curves node that takes the same image, or into a new one.
 *
 * @param {any} node whose panel shows them
 * @param {import("./payload.js").Run} run
 * @param {number} index of the frame
 */
export function copyCurves(node, run, index) {
  const frame = run.frame(index);
  if (!frame) return;
  const origin = originOf(node);
  const fits = (/** @type {any} */ other) => other.type === TYPE && JSON.stringify(originOf(other)) === JSON.stringify(origin);
  const target = (origin && node.graph.nodes.find(fits)) ?? add(node, origin);
  CHANNELS.forEach((channel, row) => {
    const widget = target.widgets.find((/** @type {any} */ one) => one.name === channel);
    const [source, result] = [frame.source[row], frame.result[row]];
    widget.value = { points: fitPoints(curveByRank(source, result), source), interpolation: "monotone_cubic" };
    widget.callback?.(widget.value);
  });
  app.canvas.selectNode(target);
  app.canvas.setDirty(true, true);
  node.graph.afterChange?.();
}

/** @param {any} node @returns {{id: any, slot: number} | null} where its image comes from */
function originOf(node) {
  const number = node.inputs.find((/** @type {any} */ input) => input.name === "image")?.link;
  const link = number === null || number === undefined ? null : node.graph.getLink(number);
  return link ? { id: link.origin_id, slot: link.origin_slot } : null;
}

/** Adds a node right of another, which takes the same image. @param {any} node @param {{id: any, slot: number} | null} source */
function add(node, source) {
  const made = window.LiteGraph.createNode(TYPE);
  made.pos = [node.pos[0] + node.size[0] + DISTANCE, node.pos[1]];
  // Below whatever is there.
  const covers = (/** @type {any} */ other) =>
    [0, 1].every((axis) => {
      const apart = other.pos[axis] - made.pos[axis];
      return apart < made.size[axis] + DISTANCE && -apart < other.size[axis] + DISTANCE;
    });
  for (let other; (other = node.graph.nodes.find(covers)); ) made.pos[1] = other.pos[1] + other.size[1] + DISTANCE + 1;
  node.graph.add(made);
  if (source) node.graph.getNodeById(source.id)?.connect(source.slot, made, made.inputs.findIndex((/** @type {any} */ input) => input.name === "image"));
  return made;
}
