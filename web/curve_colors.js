/** Bright enough on a dark page, dark enough on a light one. */
const COLORS = { red: "#e5484d", green: "#30a46c", blue: "#4c8dff" };
const NODE = "ImageCurvesApply";

/**
 * Gives each curve of Apply Curves the color and the name of its channel, and the histogram behind it the color of text: ComfyUI
 * draws all alike and without names, and the histogram white, which a light page does not show.
 *
 * @param {any} node
 */
export function colorCurves(node) {
  if (node.comfyClass !== NODE || !node.widgets) return;
  const id = "histogram-match-curve-colors";
  const style = document.getElementById(id) ?? document.head.appendChild(document.createElement("style"));
  style.id = id;
  // Nodes 2.0 lay widgets out as one child each, in their order.
  const rules = Object.entries(COLORS).map(([name, color]) => {
    const index = node.widgets.findIndex((/** @type {any} */ widget) => widget.name === name);
    const curve = `.lg-node-widget:nth-child(${index + 1}) > [node-type="${NODE}"]`;
    const label = JSON.stringify(node.widgets[index].label || name);
    return `${curve}::before { content: ${label}; color: ${color}; padding-inline-start: 0.5rem; }
      ${curve} [data-testid="curve-path"] { stroke: ${color}; }
      ${curve} [data-testid="curve-point"] { fill: ${color}; }
      ${curve} [data-testid="histogram-path"] { fill: currentColor; }`;
  });
  style.textContent = rules.join("\n");
}
