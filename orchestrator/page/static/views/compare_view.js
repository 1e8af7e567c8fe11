// Several runs side by side: curves with intervals where there are enough runs, and a table.
import { api } from "../core/api.js";
import { h, setText } from "../core/dom.js";
import { number } from "../core/formats.js";
import { link } from "../core/links.js";
import { card, table } from "../parts/card.js";
import { GroupChart } from "../parts/group_chart.js";

const USUAL = ["return", "return.normalised", "success", "eval.own.return", "eval.aligned.return.normalised", "consensus.disagreement"];
const FIRST = 3;

export class CompareView {
  static replays = false;

  constructor({ session, query }) {
    Object.assign(this, { session, title: "Compare" });
    const given = query.get("runs")?.split(",").filter(Boolean);
    this.chosen = new Set(given ?? []);
    this.given = Boolean(given);
    this.choices = h("div", { class: "run-choice", role: "group", "aria-label": "Runs to compare" });
    this.metric = h("select", { id: "compared-metric", onchange: () => this.load() }, h("option", {}, session.info.returns));
    this.status = h("p", { class: "note", role: "status" });
    this.chart = new GroupChart("Compared runs");
    this.values = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Values, table" });
    this.report = h("p", {});
    this.element = h("div", { class: "view compare" }, h("div", { class: "view-head" }, h("h2", {}, "Compare")),
      h("div", { class: "board" },
        card("Runs", { kind: "choice-card" }, this.choices),
        card("Curves", { kind: "curves-card", tools: [h("label", { for: "compared-metric" }, "Metric"), this.metric] }, this.status, this.chart.element),
        card("Values", { kind: "values-card" }, this.values, this.report)));
    this.begin();
  }

  close() {
    this.closed = true;
    this.chart.close();
  }

  async begin() {
    const [runs, names] = await Promise.all([api.runs(), api.metricNames(this.session.info.id).catch(() => ({}))]).catch((error) => [null, error]);
    if (this.closed) return;
    if (!runs) {
      setText(this.status, names.message);
      return;
    }
    if (!this.given) for (const run of runs.slice(0, FIRST)) this.chosen.add(run.id);
    this.choices.append(...runs.map((run) => h("label", { class: "check" }, h("input", { type: "checkbox", checked: this.chosen.has(run.id), onchange: (event) => this.choose(run.id, event.target.checked) }), h("span", {}, run.name), run.experiment && h("span", { class: "tag" }, run.experiment))));
    const all = new Set(Object.values(names).flat());
    const order = [...new Set([this.session.info.returns, ...USUAL.filter((name) => all.has(name)), ...[...all].sort()])];
    this.metric.replaceChildren(...order.map((name) => h("option", { value: name }, name)));
    this.load();
  }

  choose(id, on) {
    if (on) this.chosen.add(id);
    else this.chosen.delete(id);
    window.history.replaceState(null, "", `${link(this.session.info.id, "compare")}&runs=${encodeURIComponent([...this.chosen].join(","))}`);
    this.load();
  }

  async load() {
    const runs = [...this.chosen];
    const turn = (this.turn = (this.turn ?? 0) + 1);
    if (!runs.length) {
      setText(this.status, "Choose at least one run.");
      this.chart.show([], "");
      this.values.replaceChildren();
      return;
    }
    try {
      const answer = await api.compare(runs, this.metric.value);
      if (this.closed || turn !== this.turn) return;
      const few = answer.groups.some((one) => one.low === null);
      setText(this.status, few ? "Groups with fewer than five runs have no interval." : "The band of a group is its 95 % interval.");
      this.chart.show(answer.groups, answer.name);
      this.values.replaceChildren(table(["Group", "Runs", "Value", "Interval"], answer.table.map((row) => [row.label, String(row.runs?.length ?? row.runs ?? "–"), number(row.value), row.low === null || row.low === undefined ? "–" : `${number(row.low)} – ${number(row.high)}`])));
      this.report.replaceChildren(...(answer.report ? [h("a", { href: answer.report.url }, answer.report.text)] : []));
    } catch (error) {
      if (!this.closed && turn === this.turn) setText(this.status, error.message);
    }
  }
}
