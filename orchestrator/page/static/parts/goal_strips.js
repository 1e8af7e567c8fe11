// Goals over episodes: one row for each agent, one cell for each of its newest recorded episodes, coloured by goal. Cells where the members
// of the episode agree fill the height of their row; cells without a negotiated goal are hollow.
import { colour, darkScheme, h, setText, sizedContext } from "../core/dom.js";
import { grouped, percent } from "../core/formats.js";
import { TableAlternative } from "./card.js";
import { PALETTE } from "./line_chart.js";

const NAMES = 84;
const FOOT = 18;
const SHOWN = 60; // cells of a row
const LOW = 0.4; // share of the height that cells without agreement have
const HINT = "Full height: the members agree. Hollow: drawn, not negotiated. Point at a cell to read it.";
const [EPISODE, GOAL, AGREED, NEGOTIATED] = [0, 1, 2, 3];

export class GoalStrips {
  constructor(names) {
    this.names = names;
    this.canvas = h("canvas", { role: "img", "aria-label": "Goals of the agents over episodes; the table below has the same data", onpointermove: (event) => this.point(event), onpointerleave: () => setText(this.readout, HINT) });
    this.readout = h("p", { class: "note readout" }, HINT);
    this.legend = h("ul", { class: "legend", "aria-label": "Goals" });
    this.frame = h("div", { class: "strips" }, this.canvas);
    this.alternative = new TableAlternative("Goals, as a table", () => this.rows());
    this.element = h("div", {}, this.legend, this.frame, this.readout, this.alternative.element);
    this.goals = {};
    this.labels = [];
    this.redraw = () => this.draw();
    this.sizes = new ResizeObserver(this.redraw);
    this.sizes.observe(this.frame);
    darkScheme.addEventListener("change", this.redraw);
  }

  close() {
    this.sizes.disconnect();
    darkScheme.removeEventListener("change", this.redraw);
  }

  update(state) {
    if (this.goals === state.goals && this.labels === state.goal_labels) return;
    if (this.labels !== state.goal_labels) this.showLegend(state.goal_labels);
    this.goals = state.goals;
    this.draw();
    this.alternative.update();
  }

  showLegend(labels) {
    this.labels = labels;
    // With more goals than colours a colour says little, and the names stand in the text below.
    const shown = labels.length <= PALETTE ? labels : [];
    this.legend.replaceChildren(...shown.map((label, index) => h("li", {}, h("span", { class: "legend-item" }, h("span", { class: `swatch goal-${index}`, "aria-hidden": "true" }), h("span", {}, label)))));
    this.legend.hidden = !shown.length;
  }

  text(goal) {
    return this.labels[goal] ?? String(goal);
  }

  draw() {
    const width = Math.floor(this.frame.clientWidth);
    const rows = this.names.filter((name) => this.goals[name]?.length);
    if (width < 80 || !rows.length) return;
    const row = rows.length <= 8 ? 26 : rows.length <= 20 ? 16 : 6;
    const left = row >= 16 ? NAMES : 26;
    const cell = (width - left) / SHOWN;
    Object.assign(this, { shownRows: rows, row, left, cell });
    const context = sizedContext(this.canvas, width, rows.length * row + FOOT);
    context.font = "12px system-ui, sans-serif";
    const fills = Array.from({ length: PALETTE }, (_, index) => colour(`--goal-${index}`));
    const on = colour("--goal-ink");
    const quiet = colour("--quiet");
    rows.forEach((name, index) => {
      const top = index * row;
      context.fillStyle = quiet;
      context.textAlign = "left";
      if (row >= 16) context.fillText(name.length > 10 ? `${name.slice(0, 9)}…` : name, 0, top + row / 2 + 4);
      else if (index % 8 === 0) context.fillText(String(index), 0, top + 9);
      const shown = this.goals[name].slice(-SHOWN);
      shown.forEach((one, place) => {
        const x = left + (SHOWN - shown.length + place) * cell;
        const full = row - (row > 8 ? 3 : 1);
        const height = one[AGREED] === false ? Math.max(2, full * LOW) : full;
        const wide = Math.max(1, cell - 1);
        const y = top + row - (row > 8 ? 2 : 1) - height;
        context.fillStyle = context.strokeStyle = fills[one[GOAL] % PALETTE];
        if (one[NEGOTIATED] || wide < 4) context.fillRect(x, y, wide, height);
        else {
          context.lineWidth = 1.5;
          context.strokeRect(x + 0.75, y + 0.75, wide - 1.5, Math.max(0.5, height - 1.5));
        }
        const label = this.text(one[GOAL]);
        if (one[AGREED] === false || !one[NEGOTIATED] || row < 16 || context.measureText(label).width > wide - 2) return;
        context.fillStyle = on;
        context.textAlign = "center";
        context.fillText(label, x + wide / 2, top + row / 2 + 4);
      });
    });
    context.fillStyle = quiet;
    context.textAlign = "left";
    context.fillText("earlier", left, rows.length * row + 14);
    context.textAlign = "right";
    const newest = Math.max(...rows.map((name) => this.goals[name].at(-1)[EPISODE]));
    context.fillText(`episode ${grouped(newest)}`, width, rows.length * row + 14);
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const name = this.shownRows?.[Math.floor((event.clientY - box.top) / this.row)];
    if (!name) return;
    const shown = this.goals[name].slice(-SHOWN);
    const found = shown[Math.floor((event.clientX - box.left - this.left) / this.cell) - (SHOWN - shown.length)];
    if (found) setText(this.readout, this.describe(name, found));
  }

  describe(name, [episode, goal, agreed, negotiated]) {
    const others = this.names.filter((other) => other !== name).flatMap((other) => {
      const same = this.goals[other]?.find((one) => one[EPISODE] === episode);
      return same ? [`${other}: goal ${this.text(same[GOAL])}`] : [];
    });
    const how = [negotiated ? "negotiated" : "drawn", agreed === null ? "" : agreed ? "agreed" : "not agreed"].filter(Boolean).join(", ");
    return `${name}, episode ${grouped(episode)}: goal ${this.text(goal)} (${how})${others.length ? `; ${others.join(", ")}` : ""}`;
  }

  rows() {
    const names = this.names.filter((name) => this.goals[name]?.length);
    const share = (all, chosen) => percent(all.filter(chosen).length / all.length);
    return {
      head: ["Agent", "Newest goals", "Negotiated", "Agreed"],
      body: names.map((name) => {
        const all = this.goals[name];
        return [name, all.slice(-12).map((one) => this.text(one[GOAL])).join(", "), share(all, (one) => one[NEGOTIATED]), share(all, (one) => one[AGREED])];
      }),
    };
  }
}
