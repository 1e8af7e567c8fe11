// The whole run on one page.
import { h } from "../core/dom.js";
import { link } from "../core/links.js";
import { RunMetrics } from "../core/run_metrics.js";
import { AdjacencyMap } from "../parts/adjacency_map.js";
import { AnswerCards } from "../parts/answer_cards.js";
import { TableAlternative, card, choice } from "../parts/card.js";
import { edgeLegend, edgeText } from "../parts/edge_style.js";
import { EventList } from "../parts/event_list.js";
import { FaultForm } from "../parts/fault_form.js";
import { GoalStrips } from "../parts/goal_strips.js";
import { LineChart } from "../parts/line_chart.js";
import { NodeTable } from "../parts/node_table.js";
import { TimeBars } from "../parts/time_bars.js";
import { TopologyView } from "../parts/topology_view.js";
import { edgeBetween } from "../core/run_state.js";

const GRAPH_NODES = 64;
const GRAPH_EDGES = 400;
const DISAGREEMENTS = ["models.disagreement", "consensus.disagreement", "statistics.disagreement"];

export class OverviewView {
  constructor({ session }) {
    this.session = session;
    const { info } = session;
    this.metrics = new RunMetrics(session, [info.returns, "success", ...DISAGREEMENTS]);
    this.metrics.addEventListener("change", () => this.curves());
    this.axis = "t";
    this.smooth = true;
    this.answers = new AnswerCards();
    this.returns = new LineChart(`Return of each agent (${info.returns}), median and quartiles`, { median: info.agents.length > 2, empty: "No episode has ended yet." });
    this.success = new LineChart("Success of each agent, median and quartiles", { median: info.agents.length > 2, height: 180, empty: "This run has no measure of success, or no episode has ended yet." });
    this.disagreement = new LineChart("Disagreement of the agents' models, logarithmic axis", { log: true, height: 200, empty: "No averaging round has been measured yet." });
    this.goals = new GoalStrips(info.agents);
    this.events = new EventList(session);
    this.nodes = new NodeTable(info.id);
    this.times = new TimeBars(info.id);
    this.faults = info.control ? new FaultForm(session) : null;
    this.graphPlace = h("div", { class: "graph-place" });
    this.edgeTable = new TableAlternative("Edges, as a table", () => this.edgeRows());
    const kind = info.agents.length > GRAPH_NODES || info.edges.length > GRAPH_EDGES ? "matrix" : "graph";
    this.goalCard = card("Goals", { kind: "goals-card" }, this.goals.element);
    this.element = h("div", { class: "view overview" }, h("h2", { class: "hidden-heading" }, "Overview"),
      this.answers.element,
      h("div", { class: "board" },
        card("Topology", { kind: "topology-card", tools: [choice("Form of the topology", [["graph", "Graph"], ["matrix", "Matrix"]], kind, (form) => this.showGraph(form))] }, this.graphPlace, edgeLegend(), this.edgeTable.element),
        card("Return", { kind: "return-card", tools: [choice("Curves", [[true, "Smooth"], [false, "Raw"]], true, (smooth) => { this.smooth = smooth; this.curves(); }), choice("Horizontal axis", [["t", "Time"], ["step", "Steps"]], "t", (axis) => { this.axis = axis; this.curves(); })] }, this.returns.element),
        card("Success", { kind: "success-card" }, this.success.element),
        card("Disagreement", { kind: "disagreement-card", note: "How far the models are apart; lower is closer." }, this.disagreement.element),
        this.goalCard,
        card("Nodes", { kind: "nodes-card" }, this.nodes.element),
        card("Events", { kind: "events-card" }, this.events.element),
        card("Where the time goes", { kind: "time-card" }, this.times.element),
        this.faults?.element));
    this.showGraph(kind);
    this.curves();
  }

  close() {
    for (const part of [this.metrics, this.returns, this.success, this.disagreement, this.goals, this.graph, this.faults]) part?.close();
  }

  showGraph(form) {
    this.graph?.close();
    this.graph = form === "graph" ? new TopologyView(this.session) : new AdjacencyMap(this.session);
    this.graphPlace.replaceChildren(this.graph.element);
    this.graph.update(this.session.state);
  }

  /** The time to mark in charts: none while the newest state is shown. */
  get at() {
    return this.session.following || this.session.at >= this.session.end ? null : this.session.at;
  }

  curves() {
    const { faults } = this.session;
    const agents = new Set(this.session.info.agents);
    const ofAgents = (name) => {
      const series = this.metrics.of(name);
      const own = series.filter((one) => agents.has(one.node));
      return own.length ? own : series;
    };
    const shared = { faults, at: this.at };
    const learning = { axis: this.axis, smooth: this.smooth, ...shared };
    this.returns.show({ series: ofAgents(this.session.info.returns), ...learning });
    this.success.show({ series: ofAgents("success"), ...learning });
    const models = DISAGREEMENTS.flatMap((name) => this.metrics.of(name).filter((one) => one.node === "run").map((one) => ({ ...one, node: name.replace(".disagreement", "") })));
    this.disagreement.show({ series: models, ...shared });
  }

  update(state, session) {
    this.answers.update(state);
    this.graph.update(state);
    this.nodes.update(state);
    this.events.update(state);
    this.times.update(state, Object.keys(state.time).length > 24 && state.time.all ? "all" : null);
    this.goalCard.hidden = !Object.values(state.goals).some((list) => list?.length);
    this.goals.update(state);
    for (const chart of [this.returns, this.success, this.disagreement]) chart.mark(session.faults, this.at);
    this.edgeTable.update();
  }

  edgeRows() {
    const { info, state } = this.session;
    return { head: ["Edge", "State"], body: info.edges.map(([a, b]) => [h("a", { href: link(info.id, "edge", a, b) }, `${a} – ${b}`), edgeText(edgeBetween(state, a, b))]) };
  }
}
