// All runs below the directory of the page server.
import { api } from "../core/api.js";
import { h, keyed, setText } from "../core/dom.js";
import { moment } from "../core/formats.js";
import { link } from "../core/links.js";
import { card } from "../parts/card.js";

const PERIOD = 3_000;

export class RunListView {
  static replays = false;
  static needsRun = false;

  constructor({ session }) {
    Object.assign(this, { session, title: "Runs", chosen: new Set() });
    this.body = h("tbody", {});
    this.status = h("p", { class: "note", role: "status" });
    this.compare = h("a", { class: "button", hidden: true }, "");
    this.element = h("div", { class: "view runs" }, h("div", { class: "view-head" }, h("h2", {}, "Runs"), this.compare),
      card("All runs, newest first", {}, this.status, h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Runs, table" },
        h("table", { class: "run-table" }, h("thead", {}, h("tr", {}, ["Run", "State", "Started", "Experiment", "Compare"].map((label) => h("th", { scope: "col" }, label)))), this.body))));
    this.load();
    this.timer = setInterval(() => this.load(), PERIOD);
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
  }

  async load() {
    if (document.hidden) return;
    try {
      const runs = await api.runs();
      if (this.closed) return;
      setText(this.status, runs.length ? "" : "No run here yet. Start one with: orchestrate up configs/4agents_ring.yaml");
      this.status.hidden = runs.length > 0;
      keyed(this.body, runs, (run) => run.id, (run) => this.row(run), (row, run) => this.fill(row, run));
    } catch (error) {
      this.status.hidden = false;
      setText(this.status, error.message);
    }
  }

  row(run) {
    return h("tr", {}, h("th", { scope: "row" }, h("a", { href: link(run.id) }, run.name)), h("td", {}, h("span", { class: "live-dot", "aria-hidden": "true" }), h("span", { class: "word" })),
      h("td", {}, moment(run.started)), h("td", {}, run.experiment ?? "–"),
      h("td", {}, h("input", { type: "checkbox", "aria-label": `Compare ${run.name}`, onchange: (event) => this.choose(run.id, event.target.checked) })));
  }

  fill(row, run) {
    row.classList.toggle("is-live", Boolean(run.live));
    setText(row.querySelector(".word"), `${run.state?.toLowerCase() ?? "–"}${run.live ? ", live" : ""}`);
  }

  choose(id, on) {
    if (on) this.chosen.add(id);
    else this.chosen.delete(id);
    this.compare.hidden = !this.chosen.size;
    this.compare.href = `${link(this.session?.info.id ?? id, "compare")}&runs=${encodeURIComponent([...this.chosen].join(","))}`;
    setText(this.compare, this.chosen.size === 1 ? "Compare 1 run" : `Compare ${this.chosen.size} runs`);
  }
}
