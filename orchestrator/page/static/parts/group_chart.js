// Curves of groups of runs over steps: the median of each, and its interval as a band.
import uPlot from "../vendor/uPlot.esm.js";
import { colour, darkScheme, h, s } from "../core/dom.js";
import { number } from "../core/formats.js";
import { DASHES, PALETTE } from "./line_chart.js";

const HEIGHT = 320;

export class GroupChart {
  constructor(label) {
    this.place = h("div", { class: "plot", role: "img", "aria-label": label });
    this.legend = h("ul", { class: "legend" });
    this.element = h("div", { class: "line-chart" }, this.legend, this.place);
    this.groups = [];
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.element);
    this.recolour = () => this.draw(true);
    darkScheme.addEventListener("change", this.recolour);
  }

  close() {
    this.sizes.disconnect();
    darkScheme.removeEventListener("change", this.recolour);
    this.plot?.destroy();
  }

  show(groups, name) {
    this.groups = groups.filter((group) => group.step.length);
    this.place.setAttribute("aria-label", `${name} of ${this.groups.length} groups of runs over steps; the table below has the values`);
    this.draw(true);
  }

  draw(anew = false) {
    const width = Math.floor(this.element.clientWidth);
    if (this.plot && !anew) {
      if (width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
      return;
    }
    this.plot?.destroy();
    this.plot = null;
    this.place.hidden = !this.groups.length;
    if (!this.groups.length || width <= 0) {
      this.legend.replaceChildren();
      return;
    }
    const steps = [...new Set(this.groups.flatMap((group) => group.step))].sort((a, b) => a - b);
    const on = (group, values) => {
      const known = new Map(group.step.map((step, index) => [step, values[index]]));
      return steps.map((step) => known.get(step));
    };
    const data = [steps];
    const series = [{}];
    const bands = [];
    this.groups.forEach((group, index) => {
      const ink = colour(`--series-${index % PALETTE}`);
      if (group.low) {
        data.push(on(group, group.low), on(group, group.high));
        series.push({ stroke: "transparent", points: { show: false }, spanGaps: true }, { stroke: "transparent", points: { show: false }, spanGaps: true });
        bands.push({ series: [series.length - 1, series.length - 2], fill: `${ink}2e` });
      }
      data.push(on(group, group.median));
      series.push({ label: group.label, stroke: ink, width: 2, dash: DASHES[index % DASHES.length], spanGaps: true });
    });
    const rule = { stroke: colour("--line"), width: 1 };
    const axes = { stroke: colour("--quiet"), grid: rule, ticks: { ...rule, size: 4 }, font: '12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif' };
    this.plot = new uPlot({ width, height: HEIGHT, legend: { show: false }, padding: [8, 12, 0, 0], scales: { x: { time: false } }, series, bands,
      axes: [{ ...axes, values: (_, ticks) => ticks.map(number), space: 70, size: 32, label: "steps", labelFont: axes.font, labelSize: 20, labelGap: 0 }, { ...axes, values: (_, ticks) => ticks.map(number), size: 56 }] }, data, this.place);
    this.legend.replaceChildren(...this.groups.map((group, index) => h("li", {}, h("span", { class: "legend-item" },
      s("svg", { class: "sample", viewBox: "0 0 22 10", "aria-hidden": "true" }, s("line", { x1: 0, y1: 5, x2: 22, y2: 5, stroke: `var(--series-${index % PALETTE})`, "stroke-width": 2, "stroke-dasharray": DASHES[index % DASHES.length].join(" ") || null })),
      h("span", {}, group.label)))));
  }
}
