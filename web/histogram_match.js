import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { Panel } from "./panel.js";
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
  for (const node of nodesOf(app.rootGraph ?? app.graph)) refresh(node);
}

/** @param {any} node */
function refresh(node) {
  panels.get(node)?.take(app.nodeOutputs?.[locator(node)]);
}

/**
 * @param {string} id under which the server runs a node: those of the subgraphs around it, then its own
 * @returns {any}
 */
function nodeAt(id) {
  const path = id.split(":");
  let graph = app.rootGraph ?? app.graph;
  for (const number of path.slice(0, -1)) graph = graph?.getNodeById(number)?.subgraph;
  return graph?.getNodeById(path[path.length - 1]);
}

/** Takes what nodes have sent from the history, after the page was loaded anew. */
async function restore() {
  const id = (app.rootGraph ?? app.graph)?.id;
  const missing = [...nodesOf(app.rootGraph ?? app.graph)].some((node) => panels.has(node) && !app.nodeOutputs[locator(node)]);
  if (!id || !missing) return;
  const answer = await api.fetchApi(`/history?max_items=${RUNS}`);
  for (const run of Object.values(await answer.json()).reverse()) {
    if (run.prompt?.[3]?.extra_pnginfo?.workflow?.id !== id) continue;
    for (const [number, output] of Object.entries(run.outputs ?? {})) {
      const node = nodeAt(number);
      if (node && panels.has(node) && !app.nodeOutputs[locator(node)]) app.nodeOutputs[locator(node)] = output;
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
      for (const node of nodesOf(app.rootGraph ?? app.graph)) panels.get(node)?.paint();
    }).observe(document.documentElement, { attributes: true });
  },

  nodeCreated(node) {
    const histograms = PANELS.includes(node.comfyClass);
    if (!histograms && !OTHERS.includes(node.comfyClass)) return;
    if (histograms) node.properties.histograms ??= true;
    const panel = new Panel(node, { histograms, onCurves: null });
    panels.set(node, panel);
    const { onConfigure, onExecuted, onRemoved } = node;
    node.onConfigure = function (/** @type {any} */ saved) {
      onConfigure?.apply(this, arguments);
      // Workflows of before keep their look.
      if (histograms && saved?.properties?.histograms === undefined) node.properties.histograms = false;
      panel.update();
      refreshSoon();
    };
    node.onExecuted = function (/** @type {any} */ output) {
      onExecuted?.apply(this, arguments);
      panel.take(output);
    };
    node.onRemoved = function () {
      onRemoved?.apply(this, arguments);
      panel.remove();
    };
  },

  onNodeOutputsUpdated() {
    refreshSoon();
  },
});
