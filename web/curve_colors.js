// ComfyUI draws the curves of a node alike and without names, and a white histogram behind them, which a light page does not show.
// Here each gets the color of its channel and its name, and the histogram the color of text.
import { app } from "../../scripts/app.js"

const NODE = "ImageCurvesApply"
/** Bright enough on a dark page, dark enough on a light one. */
const COLORS = { red: "#e5484d", green: "#30a46c", blue: "#4c8dff" }

/**
 * Rules for the widgets of a node as Nodes 2.0 lays them out: one child each, in their order.
 * @param {{name: string, label?: string}[]} widgets
 * @returns {string}
 */
function rules(widgets) {
  return Object.entries(COLORS)
    .map(([name, color]) => {
      const index = widgets.findIndex((widget) => widget.name === name)
      const curve = `.lg-node-widget:nth-child(${index + 1}) > [node-type="${NODE}"]`
      const label = JSON.stringify(widgets[index].label || name)
      return `
        ${curve}::before { content: ${label}; color: ${color}; padding-inline-start: 0.5rem; }
        ${curve} [data-testid="curve-path"] { stroke: ${color}; }
        ${curve} [data-testid="curve-point"] { fill: ${color}; }
        ${curve} [data-testid="histogram-path"] { fill: currentColor; }`
    })
    .join("")
}

app.registerExtension({
  name: "HistogramMatch.CurveColors",
  /** @param {{comfyClass?: string, widgets?: {name: string, label?: string}[]}} node */
  nodeCreated(node) {
    if (node.comfyClass !== NODE || !node.widgets) return
    const id = "histogram-match-curve-colors"
    const style = document.getElementById(id) ?? document.head.appendChild(document.createElement("style"))
    style.id = id
    style.textContent = rules(node.widgets)
  },
})
