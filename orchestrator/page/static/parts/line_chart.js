// Curves over time or steps: uPlot with the agents' median and quartile band, and the times of faults behind.
import uPlot from "../vendor/uPlot.esm.js";
import { colour, darkScheme, h, s, set, setText } from "../core/dom.js";
import { number, time } from "../core/formats.js";
import { grid, movingMean, quartiles, resample, rising, stepAt } from "../core/series.js";
import { TableAlternative } from "./card.js";

export const PALETTE = 8;
export const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [5, 2], [12, 4], [3, 2, 3, 6], [1, 3]];
const NAMED = 8; // more series than this are drawn as thin lines without a name each
const POINTS = 400;
const MANY_ALPHA = 0.3;
/** points on each side over which smoothed curves are averaged: a twentieth of the width in all */
const SMOOTH = 10;
const SYNC = "run";
/** distances of the marks on an axis of seconds */
const CLOCK = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];

export class LineChart {
  /** `log`: logarithmic axis; `median`: with median and quartiles; `height`: CSS pixels. */
  constructor(label, { log = false, median = false, height = 220, empty = "No values yet.", table = true } = {}) {
    Object.assign(this, { label, log, median, height, hidden: new Set(), smooth: false, axis: "t", series: [], faults: [], at: null });
    this.place = h("div", { class: "plot", role: "img", "aria-label": label });
    this.legend = h("ul", { class: "legend" });
    this.empty = h("p", { class: "note" }, empty);
    this.alternative = new TableAlternative(`${label}, as a table`, () => this.rows());
    this.element = h("div", { class: "line-chart" }, this.legend, this.empty, this.place, table ? this.alternative.element : null);
    this.sizes = new ResizeObserver(([entry]) => this.resized(entry.contentRect.width));
    this.sizes.observe(this.place);
    this.recolour = () => this.rebuild();
    darkScheme.addEventListener("change", this.recolour);
  }

  close() {
    this.sizes.disconnect();
    darkScheme.removeEventListener("change", this.recolour);
    this.plot?.destroy();
  }

  /** `series`: `[{node, t, step, v}]`; `faults` of the state; `axis`: "t" or "step"; `at`: time that the page shows, if not the newest;
   * `smooth`: moving means instead of the values. */
  show({ series, faults = this.faults, axis = this.axis, at = null, smooth = false }) {
    const shown = series.filter((one) => one.t.length);
    const names = shown.map((one) => one.node).join("\n");
    const same = names === this.names && axis === this.axis;
    Object.assign(this, { series: shown, faults, axis, at, names, smooth });
    if (same && this.plot) this.refill();
    else this.rebuild();
    this.alternative.update();
  }

  /** Another time or other faults, same curves. */
  mark(faults, at) {
    if (this.faults === faults && this.at === at) return;
    Object.assign(this, { faults, at });
    this.plot?.redraw(false);
    this.values(null);
  }

  resized(width) {
    if (width <= 0) return;
    if (!this.plot) this.rebuild();
    else if (Math.round(width) !== this.plot.width) this.plot.setSize({ width: Math.round(width), height: this.height });
  }

  /** Columns of uPlot: the grid; one for each series; quartiles and median if asked for, which are drawn over the others. */
  columns() {
    const points = this.series.map((one) => {
      const v = this.log ? one.v.map((value) => (value > 0 ? value : null)) : one.v;
      return this.axis === "step" ? rising(one.step, v) : [one.t, v];
    });
    const on = grid(Math.min(...points.map(([x]) => x[0])), Math.max(...points.map(([x]) => x.at(-1))), POINTS);
    const raw = points.map(([x, v]) => resample(x, v, on));
    const each = this.smooth ? raw.map((column) => movingMean(column, SMOOTH)) : raw;
    if (!this.median) return [on, ...each];
    const { low, median, high } = quartiles(each);
    return [on, ...each, low, high, median];
  }

  refill() {
    const zoomed = this.zoom;
    this.plot.setData(this.columns(), false);
    if (zoomed) this.plot.setScale("x", zoomed);
    else this.plot.setData(this.plot.data, true);
    this.values(null);
  }

  rebuild() {
    this.plot?.destroy();
    this.plot = null;
    this.zoom = null;
    const any = this.series.length > 0;
    this.empty.hidden = any;
    this.alternative.element.hidden = !any;
    this.place.hidden = this.legend.hidden = !any;
    const width = Math.round(this.place.clientWidth);
    if (!any || width <= 0) return;
    const ink = colour("--quiet");
    const rule = { stroke: colour("--line"), width: 1 };
    const font = '12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
    const axes = { stroke: ink, grid: rule, ticks: { ...rule, size: 4 }, font };
    const many = this.series.length > NAMED;
    const spans = { spanGaps: false, points: { show: (plot, index) => alone(plot.data[index]) } };
    const lines = this.series.map((one, index) => ({
      label: one.node, width: many ? 0.75 : this.median ? 1 : 1.75, dash: many ? [] : DASHES[index % DASHES.length],
      stroke: many ? colour("--faint-line") : colour(`--series-${index % PALETTE}`), alpha: many ? MANY_ALPHA : 1, show: !this.hidden.has(one.node), ...spans }));
    const middle = [
      { label: "lower quartile", stroke: "transparent", points: { show: false } },
      { label: "upper quartile", stroke: "transparent", points: { show: false } },
      { label: "median", stroke: colour("--ink"), width: 2.5, ...spans }];
    this.plot = new uPlot({
      width, height: this.height, padding: [8, 12, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: `${SYNC}-${this.axis}` }, points: { size: 6 }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: this.log ? { distr: 3 } : { range: padded } },
      axes: [
        { ...axes, ...(this.axis === "t" ? { incrs: CLOCK } : {}), values: (_, ticks) => ticks.map((tick) => (this.axis === "t" ? time(tick) : number(tick))), space: 56, size: 32 },
        { ...axes, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick))), size: 56 }],
      series: [{}, ...lines, ...(this.median ? middle : [])],
      bands: this.median ? [{ series: [lines.length + 2, lines.length + 1], fill: colour("--band") }] : [],
      hooks: {
        drawClear: [(plot) => this.drawFaults(plot)],
        draw: [(plot) => this.drawTime(plot)],
        setCursor: [(plot) => this.values(plot.cursor.idx)],
        setSelect: [(plot) => { if (plot.select.width > 0) this.zoom = { min: plot.posToVal(plot.select.left, "x"), max: plot.posToVal(plot.select.left + plot.select.width, "x") }; }],
      },
    }, this.columns(), this.place);
    this.plot.over.addEventListener("dblclick", () => { this.zoom = null; });
    this.buildLegend(many);
  }

  position(plot, t) {
    const x = this.axis === "t" ? t : stepAt(this.series, t);
    return x === null ? null : plot.valToPos(x, "x", true);
  }

  drawFaults(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const fault of this.faults) {
      const from = this.position(plot, fault.t);
      const to = fault.until === null ? bbox.left + bbox.width : this.position(plot, fault.until);
      if (from === null || to === null) continue;
      const width = Math.max(2 * devicePixelRatio, to - from);
      ctx.fillStyle = colour("--fault-band");
      ctx.fillRect(from, bbox.top, width, bbox.height);
      ctx.fillStyle = colour("--fault-line");
      ctx.fillRect(from, bbox.top, width, 3 * devicePixelRatio);
    }
    ctx.restore();
  }

  drawTime(plot) {
    if (this.at === null) return;
    const x = this.position(plot, this.at);
    const { ctx, bbox } = plot;
    if (x === null || x < bbox.left || x > bbox.left + bbox.width) return;
    ctx.save();
    ctx.fillStyle = colour("--link");
    ctx.fillRect(x - devicePixelRatio * 0.75, bbox.top, 1.5 * devicePixelRatio, bbox.height);
    ctx.restore();
  }

  buildLegend(many) {
    const items = [];
    this.figures = [];
    const add = (label, sample, column, node, series = null) => {
      const value = h("span", { class: "value" });
      this.figures.push([value, column, series]);
      const content = [sample, h("span", {}, label), value];
      items.push(h("li", {}, node === null ? h("span", { class: "legend-item" }, content)
        : h("button", { type: "button", class: "legend-item", "aria-pressed": String(!this.hidden.has(node)), onclick: (event) => this.toggle(node, column, event.currentTarget) }, content)));
    };
    if (this.median) add("median, quartiles", sample("--ink", [], 2.5, true), this.series.length + 3, null);
    if (many) items.push(h("li", {}, h("span", { class: "legend-item" }, sample("--faint-line", [], 1), h("span", {}, `${this.series.length} agents`))));
    else this.series.forEach((one, index) => add(this.series.length === 1 ? "newest" : one.node, sample(`--series-${index % PALETTE}`, DASHES[index % DASHES.length], 2), index + 1, this.series.length === 1 ? null : one.node, index));
    items.push(h("li", { class: "fault-key" }, h("span", { class: "legend-item" }, s("svg", { class: "sample", viewBox: "0 0 22 10", "aria-hidden": "true" },
      s("rect", { class: "fault-band", width: 22, height: 10 }), s("rect", { class: "fault-line", width: 22, height: 2.5 })), h("span", {}, "fault"))));
    this.legend.replaceChildren(...items);
    this.values(null);
  }

  toggle(node, column, button) {
    const show = this.hidden.has(node);
    if (show) this.hidden.delete(node);
    else this.hidden.add(node);
    set(button, { "aria-pressed": String(show) });
    this.plot.setSeries(column, { show });
  }

  /** Values in the legend: at the cursor, or else at the time that the page shows, or else the newest. */
  values(pointed) {
    const shown = this.at === null ? null : this.axis === "t" ? this.at : stepAt(this.series, this.at);
    const index = pointed ?? (this.plot && shown !== null ? this.plot.valToIdx(shown) : null);
    for (const [element, column, series] of this.figures ?? []) {
      const data = this.plot?.data[column];
      if (!data) continue;
      const newest = () => (series === null ? data.findLast((v) => v !== null) : this.series[series].v.at(-1));
      setText(element, number(index === null ? newest() : data[index]));
    }
    this.legend.querySelector(".fault-key")?.toggleAttribute("hidden", !this.faults.length);
  }

  rows() {
    return {
      head: ["Node", "Newest", "Least", "Mean", "Greatest"],
      body: this.series.map(({ node, v }) => [node, ...summary(v)]),
    };
  }
}

/** Newest, least, mean and greatest value, as texts. */
export function summary(v) {
  const known = v.filter((value) => value !== null);
  return [known.at(-1), Math.min(...known), known.reduce((a, b) => a + b, 0) / known.length, Math.max(...known)].map(number);
}

function sample(variable, dash, width, band = false) {
  return s("svg", { class: "sample", viewBox: "0 0 22 10", "aria-hidden": "true" },
    band && s("rect", { class: "quartiles", width: 22, height: 10 }),
    s("line", { x1: 0, y1: 5, x2: 22, y2: 5, stroke: `var(${variable})`, "stroke-width": width, "stroke-dasharray": dash.join(" ") || null }));
}

/** A single value is a point: a line needs two. */
function alone(column) {
  return column.filter((value) => value !== null).length === 1;
}

/** Limits with a little room; a flat curve gets some, too. */
function padded(_, low, high) {
  if (low === null || high === null) return [0, 1];
  const room = high > low ? (high - low) * 0.08 : Math.abs(high) * 0.1 || 0.5;
  return [low - room, high + room];
}
