import { app } from "../../scripts/app.js";

/** How much taller than on the canvas a widget is with Nodes 2.0, which the page does not count. */
const TALLER = 4;

/**
 * Hides inputs of a node while they have no meaning, as their options say in `shown_for`: values of other widgets by name.
 * They come back with their values. Linked ones are never hidden, and a linked widget may have any value. A node that is loaded
 * keeps its size until something changes.
 *
 * @param {any} node
 * @param {any} [nodeData] what the server says of it
 */
export function watchInputs(node, nodeData = node.constructor.nodeData) {
  /** @type {[string, Record<string, string[]>][]} */
  const rules = Object.entries({ ...nodeData.input?.required, ...nodeData.input?.optional }).flatMap(([name, [, options]]) =>
    options?.shown_for ? [[name, options.shown_for]] : [],
  );
  if (!rules.length) return;
  let loading = false;

  const update = () => {
    for (const [name, rule] of rules) {
      const others = Object.entries(rule).filter(([other]) => !isLinked(node, other));
      const holds = others.every(([other, values]) => values.includes(named(node.widgets, other).value));
      setHidden(node, name, !holds && !isLinked(node, name));
    }
  };
  const change = () => {
    if (loading) return;
    const before = needed(node);
    update();
    node.setSize([node.size[0], Math.max(node.size[1] + needed(node) - before, node.computeSize()[1])]);
    node.setDirtyCanvas(true, true);
  };

  const deciding = new Set(rules.flatMap(([, rule]) => Object.keys(rule)));
  for (const name of deciding) after(named(node.widgets, name), "callback", change);
  after(node, "onConnectionsChange", change);
  const { configure } = node;
  node.configure = function () {
    loading = true;
    try {
      // The page takes a socket that seems to belong to a widget away if the node has no such widget.
      for (const [name] of rules) setHidden(node, name, false);
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
    for (const input of saved.inputs ?? []) if (isHiddenSocket(node, input)) delete input.widget;
  });
  change();
}

/**
 * Labels the options of a node's widgets; their values stay as they are.
 *
 * @param {any} node
 * @param {(key: string) => string | undefined} text the label of an option under the key `options.<value>`
 */
export function labelOptions(node, text) {
  const label = (/** @type {any} */ value) => text(`options.${value}`) ?? String(value ?? "");
  for (const { type, options } of node.widgets ?? []) if (type === "combo") options.getOptionLabel = label;
}

/** @type {(owner: any, name: string, then: (...given: any[]) => void) => void} calls `then` after what has this name */
function after(owner, name, then) {
  const before = owner[name];
  owner[name] = function (/** @type {any[]} */ ...given) {
    const answer = before?.apply(this, given);
    then(...given);
    return answer;
  };
}

/** @type {(list: any[], name: string) => any} */
const named = (list, name) => list.find((one) => one.name === name);

/** @type {(node: any, name: string) => boolean} */
const isLinked = (node, name) => (named(node.inputs, name)?.link ?? null) !== null;

/** @type {(node: any, input: any) => boolean} both canvases leave out unlinked sockets that belong to a widget */
const isHiddenSocket = (node, input) => Boolean(input.widget) && !named(node.widgets, input.widget.name);

/** @type {(node: any) => number} the height that a node needs */
function needed(node) {
  const rows = node.widgets.filter((/** @type {any} */ widget) => !widget.hidden).length;
  return node.computeSize()[1] + (window.LiteGraph.vueNodesMode ? rows * TALLER : 0);
}

/** @type {(node: any, name: string, hidden: boolean) => void} */
function setHidden(node, name, hidden) {
  const [widget, input] = [named(node.widgets, name), named(node.inputs, name)];
  // The canvas takes one, Nodes 2.0 take the other.
  if (widget) widget.hidden = widget.options.hidden = hidden;
  else if (input && hidden !== isHiddenSocket(node, input)) {
    if (hidden) {
      input.widget = { name };
      // The pointer must not find it where it was.
      input.boundingRect?.fill(0);
    } else delete input.widget;
    // Nodes 2.0 look again at sockets when their list changes.
    node.inputs.push(node.inputs.pop());
  }
}
