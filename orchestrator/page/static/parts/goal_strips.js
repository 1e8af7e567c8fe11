// Goals over episodes: one row for each agent, one cell for each episode, coloured by goal. Agreed goals fill the height of their row.
import { colour, darkScheme, h, setText, sizedContext } from "../core/dom.js";
import { percent } from "../core/formats.js";
import { TableAlternative } from "./card.js";
import { PALETTE } from "./line_chart.js";

const NAMES = 84;
const FOOT = 18;
const SHOWN = 120; // newest episodes

export class GoalStrips {
  constructor(names) {
    this.names = names;
    this.canvas = h("canvas", { role: "img", "aria-label": "Goals of the agents over episodes; the table below has the same data", onpointermove: (event) => this.point(event) });
    this.readout = h("p", { class: "note readout" }, "Full height: the members of the episode agreed on the goal. Point at a cell to read it.");
    this.frame = h("div", { class: "strips" }, this.canvas);
    this.alternative = new TableAlternative("Goals, as a table", () => this.rows());
    this.element = h("div", {}, this.frame, this.readout, this.alternative.element);
    this.goals = {};
    this.redraw = () => this.draw();
    this.sizes = new ResizeObserver(this.redraw);
    this.sizes.observe(this.frame);
    darkScheme.addEventListener("change", this.redraw);
  }

  close() {
    this.sizes.disconnect();
    darkScheme.removeEventListener("change", this.redraw);
  }

  /** Whether there is any goal to show. */
  update(state) {
    if (this.goals === state.goals) return this.any;
    this.goals = state.goals;
    this.draw();
    this.alternative.update();
    return this.any;
  }

  draw() {
    const width = Math.floor(this.frame.clientWidth);
    const rows = this.names.filter((name) => this.goals[name]?.length);
    this.any = rows.length > 0;
    if (width < 80 || !this.any) return;
    const newest = Math.max(...rows.map((name) => this.goals[name].at(-1)[0]));
    const oldest = Math.max(newest - SHOWN + 1, Math.min(...rows.map((name) => this.goals[name][0][0])));
    const row = rows.length <= 8 ? 26 : rows.length <= 20 ? 16 : 5;
    const left = rows.length <= 20 ? NAMES : 26;
    const cell = (width - left) / Math.max(12, newest - oldest + 1);
    Object.assign(this, { shownRows: rows, row, left, cell, oldest });
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
      else if (index % 8 === 0) context.fillText(String(index), 0, top + 8);
      for (const [episode, goal, agreed] of this.goals[name]) {
        if (episode < oldest || goal === null) continue;
        const x = left + (episode - oldest) * cell;
        const height = agreed ? row - 2 : Math.max(2, (row - 2) * 0.34);
        context.fillStyle = fills[goal % PALETTE];
        context.fillRect(x, top + row - 1 - height, Math.max(1, cell - (cell > 4 ? 1 : 0)), height);
        if (agreed && cell >= 13 && row >= 16) {
          context.fillStyle = on;
          context.textAlign = "center";
          context.fillText(String(goal), x + cell / 2, top + row / 2 + 4);
        }
      }
    });
    context.fillStyle = quiet;
    context.textAlign = "left";
    context.fillText(`episode ${oldest}`, left, rows.length * row + 14);
    context.textAlign = "right";
    if (newest - oldest > 10) context.fillText(String(newest), left + (newest - oldest + 1) * cell, rows.length * row + 14);
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const name = this.shownRows?.[Math.floor((event.clientY - box.top) / this.row)];
    const episode = this.oldest + Math.floor((event.clientX - box.left - this.left) / this.cell);
    const found = name && this.goals[name].findLast((one) => one[0] === episode);
    if (found) setText(this.readout, `${name}, episode ${found[0]}: goal ${found[1]}, ${found[2] ? "agreed" : "not agreed"}`);
  }

  rows() {
    const names = this.names.filter((name) => this.goals[name]?.length);
    return {
      head: ["Agent", "Newest goals", "Agreed"],
      body: names.map((name) => {
        const all = this.goals[name];
        return [name, all.slice(-12).map((one) => one[1] ?? "–").join(" "), percent(all.filter((one) => one[2]).length / all.length)];
      }),
    };
  }
}
