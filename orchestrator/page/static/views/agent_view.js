// One node: its state, its metrics by group, its neighbours, and the end of its log.
import { api } from "../core/api.js";
import { h, keyed, set, setText } from "../core/dom.js";
import { bytes, milliseconds, number, percent, rate } from "../core/formats.js";
import { link } from "../core/links.js";
import { statePill, updatePill } from "../core/node_states.js";
import { RunMetrics } from "../core/run_metrics.js";
import { edgeBetween } from "../core/run_state.js";
import { TableAlternative, card } from "../parts/card.js";
import { EpisodeFilm } from "../parts/episode_film.js";
import { EventList } from "../parts/event_list.js";
import { FaultForm } from "../parts/fault_form.js";
import { LineChart, summary } from "../parts/line_chart.js";
import { TimeBars } from "../parts/time_bars.js";

const GROUPS = { return: "Performance", success: "Performance", aligned: "Performance", learner: "Learner", loss: "Learner", world_model: "World model", buffer: "Buffer", consensus: "Averaging", round: "Averaging", goals: "Goals", negotiation: "Goals", negotiated: "Goals", eval: "Evaluation", statistics: "Statistics", teacher: "Teacher", hindsight: "Hindsight" };
const ORDER = ["Performance", "Learner", "World model", "Buffer", "Averaging", "Goals"];
const LOG_LINES = 120;
const LOG_PERIOD = 2_000;
const LOG_FAR = 24; // pixels from the end within which the log follows

function group(name) {
  return GROUPS[name.split(".")[0]] ?? "Other";
}

export class AgentView {
  constructor({ session, parts: [name] }) {
    Object.assign(this, { session, name, title: name });
    const { info } = session;
    this.known = info.nodes.some((node) => node.name === name);
    if (!this.known) {
      this.element = h("p", { class: "note" }, `This run has no node ${name}.`);
      return;
    }
    this.role = info.nodes.find((node) => node.name === name).role;
    this.pill = statePill("unknown");
    this.facts = new Map(["Role", "Learner", "Goal", "Return", "Success", "Disagreement", "CPU", "Memory", "Restarts", "Waits for"].map((label) => [label, h("dd", {}, "–")]));
    this.charts = new Map();
    this.chartPlace = h("div", { class: "small-multiples" });
    this.table = new TableAlternative(`Metrics of ${name}, as a table`, () => this.rows());
    this.groupSelect = h("select", { id: "metric-group", onchange: () => this.choose(this.groupSelect.value) });
    this.neighbours = info.edges.filter((edge) => edge.includes(name)).map(([a, b]) => (a === name ? b : a));
    this.neighbourBody = h("tbody", {});
    this.log = h("pre", { class: "log", tabindex: "0", role: "group", "aria-label": `End of the log of ${name}` });
    this.events = new EventList(session, name);
    this.times = new TimeBars(info.id);
    this.film = this.role === "agent" ? new EpisodeFilm(info.id, name) : null;
    this.faults = info.control && this.role !== "run server" ? new FaultForm(session, { node: name }) : null;
    this.element = h("div", { class: "view agent" },
      h("div", { class: "view-head" }, h("h2", {}, name), this.pill, this.sisters()),
      h("dl", { class: "facts" }, [...this.facts].map(([label, value]) => h("div", { class: label === "Waits for" ? "wide" : null }, h("dt", {}, label), value))),
      h("div", { class: "board" },
        card("Metrics", { kind: "metrics-card", tools: [h("label", { for: "metric-group" }, "Group"), this.groupSelect] }, this.chartPlace, this.table.element),
        this.neighbours.length ? card("Neighbours", { kind: "neighbours-card" }, h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Neighbours, table" },
          h("table", {}, h("thead", {}, h("tr", {}, ["Neighbour", "State", "Traffic", "Delay", "Loss"].map((label) => h("th", { scope: "col" }, label)))), this.neighbourBody))) : null,
        card("Where the time goes", { kind: "time-card" }, this.times.element),
        this.film ? card("Film", { kind: "film-card" }, this.film.element) : null,
        card("Events", { kind: "events-card" }, this.events.element),
        this.faults?.element,
        card("Log", { kind: "log-card", note: `the last ${LOG_LINES} lines` }, this.log)));
    this.loadNames();
    this.loadLog();
    if (info.mode === "live") this.timer = setInterval(() => this.loadLog(), LOG_PERIOD);
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
    this.metrics?.close();
    this.faults?.close();
    this.film?.close();
    for (const chart of this.charts.values()) chart.close();
  }

  sisters() {
    const choose = h("select", { "aria-label": "Another node", onchange: () => { window.location.hash = link(this.session.info.id, "agent", choose.value); } },
      this.session.info.nodes.map((node) => h("option", { value: node.name, selected: node.name === this.name }, node.name)));
    return choose;
  }

  async loadNames() {
    const names = await api.metricNames(this.session.info.id).then((all) => all[this.name] ?? [], () => []);
    if (this.closed) return;
    this.groups = Map.groupBy(names.sort(), group);
    const place = (label) => (ORDER.includes(label) ? ORDER.indexOf(label) : ORDER.length);
    const labels = [...this.groups.keys()].sort((a, b) => place(a) - place(b) || a.localeCompare(b));
    this.groupSelect.replaceChildren(...labels.map((label) => h("option", { value: label }, `${label} (${this.groups.get(label).length})`)));
    if (labels.length) this.choose(labels[0]);
    else this.chartPlace.replaceChildren(h("p", { class: "note" }, "This node has not written any metric yet."));
  }

  choose(label) {
    this.metrics?.close();
    for (const chart of this.charts.values()) chart.close();
    const names = this.groups.get(label);
    this.charts = new Map(names.map((name) => [name, new LineChart(`${name} of ${this.name}`, { height: 130, table: false })]));
    this.chartPlace.replaceChildren(...names.map((name) => h("div", { class: "small-chart" }, h("h4", {}, name), this.charts.get(name).element)));
    this.metrics = new RunMetrics(this.session, names);
    this.metrics.addEventListener("change", () => this.curves());
  }

  curves() {
    for (const [name, chart] of this.charts) chart.show({ series: this.metrics.of(name).filter((one) => one.node === this.name), faults: this.session.faults });
    this.table.update();
  }

  rows() {
    const own = [...this.charts.keys()].map((name) => [name, this.metrics.of(name).find((one) => one.node === this.name)]);
    return { head: ["Metric", "Newest", "Least", "Mean", "Greatest"], body: own.filter(([, one]) => one?.v.length).map(([name, one]) => [name, ...summary(one.v)]) };
  }

  async loadLog() {
    if (document.hidden) return;
    const answer = await api.log(this.session.info.id, this.name, LOG_LINES).catch(() => null);
    if (this.closed || !answer) return;
    const follows = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < LOG_FAR;
    setText(this.log, answer.lines.join("\n") || "The log is empty.");
    if (follows) this.log.scrollTop = this.log.scrollHeight;
  }

  update(state, session) {
    if (!this.known) return;
    const node = state.nodes[this.name] ?? {};
    updatePill(this.pill, node.state);
    const texts = { Role: node.role ?? this.role, Learner: node.learner || "–", Goal: node.goal ?? "–", Return: number(node.return), Success: percent(node.success), Disagreement: number(node.disagreement),
      CPU: percent(node.cpu), Memory: bytes(node.memory), Restarts: String(node.restarts ?? "–"), "Waits for": node.waits ?? "nothing" };
    for (const [label, value] of this.facts) setText(value, String(texts[label]));
    set(this.pill, { title: node.reason || null });
    keyed(this.neighbourBody, this.neighbours, (name) => name,
      (name) => h("tr", {}, h("th", { scope: "row" }, h("a", { href: link(session.info.id, "edge", this.name, name) }, name)), h("td", {}, statePill("unknown")), h("td", {}), h("td", {}), h("td", {})),
      (row, name) => {
        const edge = edgeBetween(state, this.name, name);
        updatePill(row.children[1].firstChild, state.nodes[name]?.state);
        setText(row.children[2], edge?.cut ? "cut" : rate(edge?.bytes_per_s));
        setText(row.children[3], milliseconds(edge?.delay_ms));
        setText(row.children[4], percent(edge?.loss));
      });
    this.events.update(state);
    this.times.update(state, this.name);
    const at = session.following || session.at >= session.end ? null : session.at;
    for (const chart of this.charts.values()) chart.mark(session.faults, at);
  }
}

