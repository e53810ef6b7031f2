import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { copyCurves, hasCurves } from "./apply_curves.js";
import { colorCurves } from "./curve_colors.js";
import { Panel } from "./panel.js";
import { labelOptions, watchInputs } from "./shown_inputs.js";
import { loadTexts, text } from "./texts.js";

const PANELS = ["ImageHistogramMatch", "ImageHistogramSpecify", "ColorTransformFit", "ReferenceHistogram"];
/** The pack's folder, which is part of the name of its module. */
const FOLDER = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-2) ?? "");
/** How many of the last runs are looked through for those of a workflow, after the page was loaded anew. */
const RUNS = 20;

/** @type {WeakMap<object, Panel>} by nodes */
const panels = new WeakMap();
/** @type {Map<string, Panel>} those that are, or were last, in the place of a node */
const placed = new Map();
/** @type {Map<string, Promise<Map<string, any>>>} what nodes have sent in the last runs of workflows, since nothing ran */
const histories = new Map();

/** @returns {any} the graph of the workflow, if there is one yet */
function root() {
  return app.isGraphReady === false ? null : (app.rootGraph ?? app.graph);
}

/** @param {any} graph @returns {Generator<any>} all nodes, also those within subgraphs */
function* nodesOf(graph) {
  for (const node of graph?.nodes ?? []) {
    yield node;
    if (node.subgraph) yield* nodesOf(node.subgraph);
  }
}

/** @param {string} id under which the server runs a node: those of the subgraphs around it, then its own @returns {any} */
function nodeAt(id) {
  const path = id.split(":");
  let graph = root();
  for (const number of path.slice(0, -1)) graph = graph?.getNodeById(number)?.subgraph;
  return graph?.getNodeById(path[path.length - 1]);
}

/** @param {any} node @returns {string} under which the page keeps what the node has sent */
function locator(node) {
  const graph = node.graph;
  return !graph || graph === graph.rootGraph ? `${node.id}` : `${graph.id}:${node.id}`;
}

/** @param {any} node @param {boolean} histograms */
function addPanel(node, histograms) {
  const panel = new Panel(node, histograms, hasCurves() ? copyCurves : null);
  panels.set(node, panel);
  const { onRemoved } = node;
  node.onRemoved = function () {
    onRemoved?.apply(this, arguments);
    panel.observer.disconnect();
  };
}

/** Shows on all nodes what the page knows of their last runs. */
function refreshAll() {
  for (const node of nodesOf(root())) refresh(node);
}

/** @param {any} node */
function refresh(node) {
  const place = locator(node);
  const output = app.nodeOutputs?.[place];
  // Nodes without histograms have a panel only once there is something to tell.
  if (!panels.has(node) && output?.histogram_match_notes) addPanel(node, false);
  const panel = panels.get(node);
  if (!panel) return;
  panel.take(output);
  const former = placed.get(place);
  // An undo makes nodes anew, but with Nodes 2.0 the page keeps what the former one has put there.
  if (former !== panel && former?.element.isConnected && !panel.element.isConnected) former.element.replaceWith(panel.element);
  placed.set(place, panel);
}

/** Takes from the history what nodes have sent, after the page or a file was loaded. */
async function restore() {
  const id = root()?.id;
  const missing = [...nodesOf(root())].some((node) => panels.has(node) && !app.nodeOutputs[locator(node)]);
  if (!id || !missing) return;
  if (!histories.has(id)) histories.set(id, lastOutputs(id));
  for (const [number, output] of (await histories.get(id)) ?? []) {
    const node = nodeAt(number);
    if (node && root()?.id === id) app.nodeOutputs[locator(node)] ??= output;
  }
  refreshAll();
}

/** @param {string} id of a workflow @returns {Promise<Map<string, any>>} what its nodes have sent, by the ids of the server */
async function lastOutputs(id) {
  const answer = await api.fetchApi(`/history?max_items=${RUNS}`);
  const found = new Map();
  for (const run of Object.values(await answer.json()).reverse()) {
    const [, , prompt, extra] = run.prompt ?? [];
    if (extra?.extra_pnginfo?.workflow?.id !== id) continue;
    // The last run of a node counts, even if it had nothing to tell.
    for (const number of Object.keys(prompt)) if (!found.has(number)) found.set(number, run.outputs?.[number]);
  }
  return new Map([...found].filter(([, output]) => output?.histogram_match || output?.histogram_match_notes));
}

let waiting = 0;

/** Looks again once all is in its place: a graph is made node by node. */
function refreshSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    refreshAll();
    restore();
  }, 50);
}

app.registerExtension({
  name: "histogram-match",

  async setup() {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL("./histogram_match.css", import.meta.url).href;
    document.head.append(link);
    await loadTexts();
    refreshSoon();
    api.addEventListener("execution_start", () => histories.clear());
    // What a node told of the run before is not of this one.
    api.addEventListener("executing", (/** @type {CustomEvent} */ { detail }) => {
      const node = detail ? nodeAt(`${detail.node ?? detail}`) : null;
      const output = node && app.nodeOutputs?.[locator(node)];
      if (!output || !panels.has(node)) return;
      delete output.histogram_match;
      delete output.histogram_match_notes;
      refresh(node);
    });
    api.addEventListener("executed", (/** @type {CustomEvent} */ { detail }) => {
      const node = nodeAt(`${detail.node}`);
      if (node) refresh(node);
    });
    // The theme has changed.
    new MutationObserver(() => {
      for (const node of nodesOf(root())) panels.get(node)?.paint();
    }).observe(document.documentElement, { attributes: true });
  },

  nodeCreated(/** @type {any} */ node) {
    if (node.constructor.nodeData?.python_module !== `custom_nodes.${FOLDER}`) return;
    const histograms = PANELS.includes(node.comfyClass);
    if (histograms) {
      node.properties.histograms ??= true;
      addPanel(node, true);
    }
    watchInputs(node);
    labelOptions(node, text);
    colorCurves(node);
    const { onConfigure } = node;
    node.onConfigure = function (/** @type {any} */ saved) {
      onConfigure?.apply(this, arguments);
      // Workflows of before keep their look.
      if (histograms && saved?.properties?.histograms === undefined) node.properties.histograms = false;
      panels.get(node)?.update();
      refreshSoon();
    };
  },

  onNodeOutputsUpdated: refreshSoon,
});
