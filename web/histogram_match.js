import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { copyCurves, hasCurves } from "./apply_curves.js";
import { Panel } from "./panel.js";
import { watchInputs } from "./shown_inputs.js";
import { loadTexts } from "./texts.js";

const PANELS = ["ImageHistogramMatch", "ImageHistogramSpecify", "ColorTransformFit", "ReferenceHistogram"];
const OTHERS = [
  "ColorTransformApply",
  "ColorTransformSaveLUT",
  "ColorTransformLoadLUT",
  "ImageCurvesApply",
  "ImageHistogramPlot",
  "HistogramMatchSamplePhoto",
];
/** How many of the last runs are looked through for those of a workflow, after the page was loaded anew. */
const RUNS = 20;

/** @type {WeakMap<object, Panel>} by nodes */
const panels = new WeakMap();
/** @type {Map<string, Panel>} those that are, or were last, in the place of a node */
const placed = new Map();

/** @param {any} node */
function ours(node) {
  return PANELS.includes(node.comfyClass) || OTHERS.includes(node.comfyClass);
}

/** @returns {any} the graph of the workflow, if there is one yet */
function root() {
  return app.isGraphReady === false ? null : (app.rootGraph ?? app.graph);
}

/**
 * @param {any} node
 * @returns {string} under which the page keeps what the node has sent
 */
function locator(node) {
  const graph = node.graph;
  return !graph || graph === graph.rootGraph ? `${node.id}` : `${graph.id}:${node.id}`;
}

/**
 * @param {any} graph
 * @yields {any} all nodes, also those within subgraphs
 * @returns {Generator<any>}
 */
function* nodesOf(graph) {
  for (const node of graph?.nodes ?? []) {
    yield node;
    if (node.subgraph) yield* nodesOf(node.subgraph);
  }
}

/** Shows on all nodes what the page knows of their last runs. */
function refreshAll() {
  for (const node of nodesOf(root())) refresh(node);
}

/** @param {any} node */
function refresh(node) {
  const place = locator(node);
  show(node, app.nodeOutputs?.[place]);
  const panel = panels.get(node);
  if (!panel) return;
  const former = placed.get(place);
  // An undo makes nodes anew, but with Nodes 2.0 the page keeps what the former one has put there.
  if (former !== panel && former?.element.isConnected && !panel.element.isConnected) former.element.replaceWith(panel.element);
  placed.set(place, panel);
}

/**
 * @param {any} node
 * @param {any} output what it has sent to the page
 */
function show(node, output) {
  const notes = output?.histogram_match_notes?.length;
  // Nodes without histograms have a panel only once there is something to tell.
  if (!panels.has(node) && notes && OTHERS.includes(node.comfyClass)) addPanel(node, false);
  panels.get(node)?.take(output);
}

/**
 * @param {any} node
 * @param {boolean} histograms
 */
function addPanel(node, histograms) {
  const panel = new Panel(node, histograms, hasCurves() ? copyCurves : null);
  panels.set(node, panel);
  const { onRemoved } = node;
  node.onRemoved = function () {
    onRemoved?.apply(this, arguments);
    panel.observer.disconnect();
  };
}

/**
 * @param {string} id under which the server runs a node: those of the subgraphs around it, then its own
 * @returns {any}
 */
function nodeAt(id) {
  const path = id.split(":");
  let graph = root();
  for (const number of path.slice(0, -1)) graph = graph?.getNodeById(number)?.subgraph;
  return graph?.getNodeById(path[path.length - 1]);
}

/** Takes what nodes have sent from the history, after the page was loaded anew. */
async function restore() {
  const id = root()?.id;
  const missing = [...nodesOf(root())].some((node) => ours(node) && !app.nodeOutputs[locator(node)]);
  if (!id || !missing) return;
  const answer = await api.fetchApi(`/history?max_items=${RUNS}`);
  /** @type {Set<string>} */
  const decided = new Set();
  for (const run of Object.values(await answer.json()).reverse()) {
    const [, , prompt, extra] = run.prompt ?? [];
    if (extra?.extra_pnginfo?.workflow?.id !== id) continue;
    for (const number of Object.keys(prompt)) {
      // The last run of a node counts, even if it had nothing to tell.
      if (decided.has(number)) continue;
      decided.add(number);
      const node = nodeAt(number);
      if (node && ours(node) && run.outputs?.[number]) app.nodeOutputs[locator(node)] ??= run.outputs[number];
    }
  }
  refreshAll();
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
    // What a node told of the run before is not of this one.
    api.addEventListener("executing", ({ detail }) => {
      const node = detail === null || detail === undefined ? null : nodeAt(`${detail.node ?? detail}`);
      const output = node && panels.has(node) ? app.nodeOutputs?.[locator(node)] : null;
      if (!output) return;
      delete output.histogram_match;
      delete output.histogram_match_notes;
      refresh(node);
    });
    new MutationObserver(() => {
      for (const node of nodesOf(root())) panels.get(node)?.paint();
    }).observe(document.documentElement, { attributes: true });
  },

  nodeCreated(node) {
    const histograms = PANELS.includes(node.comfyClass);
    if (!ours(node)) return;
    const { onConfigure, onExecuted } = node;
    if (histograms) {
      node.properties.histograms ??= true;
      addPanel(node, true);
    }
    watchInputs(node);
    node.onConfigure = function (/** @type {any} */ saved) {
      onConfigure?.apply(this, arguments);
      // Workflows of before keep their look.
      if (histograms && saved?.properties?.histograms === undefined) node.properties.histograms = false;
      panels.get(node)?.update();
      refreshSoon();
    };
    node.onExecuted = function (/** @type {any} */ output) {
      onExecuted?.apply(this, arguments);
      show(node, output);
    };
  },

  onNodeOutputsUpdated() {
    refreshSoon();
  },
});
