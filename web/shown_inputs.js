import { app } from "../../scripts/app.js";
import { text } from "./texts.js";

/** How much taller than on the canvas a widget is with Nodes 2.0, which the page does not count. */
const TALLER = 4;

/** @typedef {Record<string, string[]>} Rule values of other widgets, by their names, for which an input has a meaning */

/**
 * Hides inputs of a node while they have no meaning, as their options say in `shown_for`, and shows them again with their values.
 * Linked inputs are never hidden, and a linked widget may have any value. A node that is loaded keeps its size until something changes.
 *
 * @param {any} node
 * @param {any} [nodeData] what the server says of it
 */
export function watchInputs(node, nodeData = node.constructor.nodeData) {
  const inputs = Object.entries({ ...nodeData.input?.required, ...nodeData.input?.optional });
  /** @type {Map<string, Rule>} */
  const rules = new Map(inputs.filter(([, spec]) => spec[1]?.shown_for).map(([name, spec]) => [name, spec[1].shown_for]));
  if (!rules.size) return;
  const deciding = new Set([...rules.values()].flatMap(Object.keys));
  let loading = false;

  const update = () => {
    for (const [name, rule] of rules) setHidden(node, name, !isLinked(node, name) && !holds(node, rule));
  };
  const change = () => {
    if (loading) return;
    const before = needed(node);
    update();
    const least = node.computeSize()[1];
    node.setSize([node.size[0], Math.max(node.size[1] + needed(node) - before, least)]);
    node.setDirtyCanvas(true, true);
  };

  for (const widget of node.widgets) if (deciding.has(widget.name)) after(widget, "callback", change);
  after(node, "onConnectionsChange", change);
  const { configure } = node;
  node.configure = function () {
    loading = true;
    try {
      // The page takes a socket that seems to belong to a widget away if the node has no such widget.
      for (const name of rules.keys()) setHidden(node, name, false);
      return configure.apply(this, arguments);
    } finally {
      loading = app.configuringGraph;
      if (!loading) update();
    }
  };
  after(node, "onAfterGraphConfigured", () => {
    loading = false;
    update();
  });
  // Files hold sockets as they are without this.
  after(node, "onSerialize", (/** @type {any} */ saved) => {
    for (const input of saved.inputs ?? []) if (isStandIn(node, input)) delete input.widget;
  });
  change();
}

/** Labels the options of a node's widgets; their values stay as they are. @param {any} node */
export function labelOptions(node) {
  for (const { type, options } of node.widgets ?? []) {
    if (type === "combo") options.getOptionLabel = (/** @type {any} */ value) => text(`options.${value}`) ?? String(value ?? "");
  }
}

/** Calls a function after another of an owner. @param {any} owner @param {string} name @param {(...given: any[]) => void} then */
function after(owner, name, then) {
  const before = owner[name];
  owner[name] = function (/** @type {any[]} */ ...given) {
    const answer = before?.apply(this, given);
    then(...given);
    return answer;
  };
}

/** @param {any} node @returns {number} the height that it needs */
function needed(node) {
  const rows = node.widgets.filter((/** @type {any} */ widget) => !widget.hidden).length;
  return node.computeSize()[1] + (window.LiteGraph.vueNodesMode ? rows * TALLER : 0);
}

/** @param {any} node @param {string} name */
function isLinked(node, name) {
  const link = node.inputs.find((/** @type {any} */ input) => input.name === name)?.link;
  return link !== undefined && link !== null;
}

/** @param {any} node @param {Rule} rule */
function holds(node, rule) {
  return Object.entries(rule).every(([name, values]) => {
    const widget = node.widgets.find((/** @type {any} */ one) => one.name === name);
    return isLinked(node, name) || values.includes(widget.value);
  });
}

/** Whether a socket is hidden: both canvases leave out unlinked ones that belong to a widget. @param {any} node @param {any} input */
function isStandIn(node, input) {
  return Boolean(input.widget) && !node.widgets.some((/** @type {any} */ widget) => widget.name === input.widget.name);
}

/** @param {any} node @param {string} name of the input @param {boolean} hidden */
function setHidden(node, name, hidden) {
  const widget = node.widgets.find((/** @type {any} */ one) => one.name === name);
  if (widget) {
    widget.hidden = widget.options.hidden = hidden;
    return;
  }
  const input = node.inputs.find((/** @type {any} */ one) => one.name === name);
  if (!input || hidden === isStandIn(node, input)) return;
  if (hidden) {
    input.widget = { name };
    // It must not be found where it was.
    input.boundingRect?.fill(0);
  } else delete input.widget;
  // Nodes 2.0 look again at sockets whose list has changed.
  node.inputs.push(node.inputs.pop());
}
