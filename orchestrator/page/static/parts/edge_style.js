// How an edge looks: width from bytes/s, colour from delay, dashes from loss, red where it is cut.
import { h, s } from "../core/dom.js";
import { milliseconds, percent, rate } from "../core/formats.js";

/** upper limits of the classes of delay, ms */
const DELAYS = [10, 50, 200, Infinity];

export function delayClass(delay) {
  if (delay === null || delay === undefined) return "delay-unknown";
  return `delay-${DELAYS.findIndex((limit) => delay < limit)}`;
}

/** CSS pixels. */
export function edgeWidth(bytes) {
  if (!bytes) return 1.25;
  return Math.min(7, 1.25 + Math.max(0, Math.log10(bytes / 100)) * 1.35);
}

/** Dashes and gaps grow with the width of the line: with more loss the gaps take more of it. */
export function lossDashes(loss, width) {
  if (!loss || loss < 0.005) return null;
  const unit = Math.max(1, width / 2.5);
  return (loss < 0.05 ? [14, 3] : loss < 0.2 ? [8, 4] : [4, 6]).map((length) => (length * unit).toFixed(1)).join(" ");
}

export function edgeText(edge) {
  if (!edge) return "nothing measured yet";
  if (edge.cut) return "cut";
  const parts = [rate(edge.bytes_per_s)];
  if (edge.delay_ms !== null && edge.delay_ms !== undefined) parts.push(`delay ${milliseconds(edge.delay_ms)}`);
  if (edge.loss) parts.push(`loss ${percent(edge.loss)}`);
  return parts.join(", ");
}

const sample = (kind, attributes = {}) => s("svg", { class: "sample", viewBox: "0 0 26 10", "aria-hidden": "true" }, s("line", { class: `edge-line ${kind}`, x1: 0, y1: 5, x2: 26, y2: 5, ...attributes }));

/** What the look of edges means. */
export function edgeLegend() {
  const item = (picture, text) => h("li", {}, h("span", { class: "legend-item" }, picture, h("span", {}, text)));
  return h("ul", { class: "legend edge-legend", "aria-label": "Edges" },
    item(s("svg", { class: "sample", viewBox: "0 0 26 10", "aria-hidden": "true" }, s("path", { class: "wedge", d: "M0 4.4 26 1.5v7L0 5.6z" })), "bytes/s"),
    ["below 10 ms", "50 ms", "200 ms", "more"].map((text, index) => item(sample(`delay-${index}`, { "stroke-width": 3.5 }), text)),
    item(sample("delay-unknown", { "stroke-width": 2.5, "stroke-dasharray": "5 4" }), "loss"),
    item(sample("cut", { "stroke-width": 2.5, "stroke-dasharray": "9 8 9" }), "cut"));
}
