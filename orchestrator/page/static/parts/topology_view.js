// The graph of the agents as SVG: nodes are links to their pages with shape, colour and letter of their state; edges are links to theirs.
// Nodes outside of the graph (environment servers, hosts) stand in a row below.
import { h, keyed, s, set, setText } from "../core/dom.js";
import { link } from "../core/links.js";
import { STATES, knownState, stateWord } from "../core/node_states.js";
import { edgeBetween } from "../core/run_state.js";
import { edgeText, edgeWidth, lossDashes, delayClass } from "./edge_style.js";
import { layout } from "./graph_layout.js";
import { TrafficParticles } from "./traffic_particles.js";

const LABELLED = 20; // more nodes than this have no name beside them
const CUT_WIDTH = 3;
const KEYBOARD = 32; // more edges than this are reached through the table instead of one by one

export class TopologyView {
  constructor(session) {
    const { info } = session;
    Object.assign(this, { session, run: info.id, edges: info.edges, names: info.agents });
    this.place = layout(this.names, this.edges);
    this.canvas = h("canvas", { class: "particles", "aria-hidden": "true" });
    this.particles = new TrafficParticles(this.canvas);
    this.edgeParts = new Map();
    this.nodeParts = new Map();
    this.edgeLayer = s("g", {});
    this.nodeLayer = s("g", {});
    this.svg = s("svg", { class: "topology", role: "group", "aria-label": `Topology: ${this.names.length} agents, ${this.edges.length} edges` }, this.edgeLayer, this.nodeLayer);
    this.others = h("ul", { class: "other-nodes", "aria-label": "Other processes" });
    this.frame = h("div", { class: "topology-frame" }, this.svg, this.canvas);
    this.element = h("div", { class: "topology-part" }, this.frame, this.others);
    this.build();
    this.sizes = new ResizeObserver(([entry]) => this.resized(entry.contentRect.width, entry.contentRect.height));
    this.sizes.observe(this.frame);
  }

  close() {
    this.sizes.disconnect();
    this.particles.close();
  }

  build() {
    const reachable = this.edges.length <= KEYBOARD;
    for (const [a, b] of this.edges) {
      const line = s("line", { class: "edge-line" });
      const grip = s("line", { class: "grip" });
      const cross = s("path", { class: "cross", d: "M-5-5 5 5M5-5-5 5" });
      const title = s("title", {});
      const anchor = s("a", { class: "edge", href: link(this.run, "edge", a, b), tabindex: reachable ? null : "-1" }, title, line, grip, cross);
      this.edgeLayer.append(anchor);
      this.edgeParts.set(`${a}|${b}`, { a, b, anchor, line, grip, cross, title });
    }
    for (const name of this.names) {
      const shape = s("path", { class: "shape" });
      const inner = s("text", { class: "inner", "text-anchor": "middle", dy: "0.36em" }, shortName(name));
      const badge = s("circle", { class: "badge" });
      const letter = s("text", { class: "letter", "text-anchor": "middle", dy: "0.36em" });
      const label = s("text", { class: "label", "text-anchor": "middle" }, cut(name));
      const title = s("title", {});
      // The name of the link has all that the texts say: they stand beside it, hidden from screen readers.
      const anchor = s("a", { href: link(this.run, "agent", name) }, title, shape);
      const texts = s("g", { class: "texts", "aria-hidden": "true" }, inner, badge, letter, this.names.length <= LABELLED ? label : null);
      const whole = s("g", { "data-node": name }, anchor, texts);
      this.nodeLayer.append(whole);
      this.nodeParts.set(name, { whole, anchor, shape, inner, badge, letter, label, title });
    }
  }

  resized(width, height) {
    if (width < 40 || height < 40) return;
    const count = this.names.length;
    this.radius = count <= 8 ? 21 : count <= 16 ? 17 : count <= 36 ? 13 : 10;
    if (width < 420) this.radius *= 0.85;
    const sides = this.radius + (count <= LABELLED ? 34 : 12);
    // A narrow, high place is not filled: a graph that is pulled long is hard to read.
    const free = Math.max(0, height - 0.8 * width) / 2;
    const top = this.radius + 14 + free;
    const bottom = this.radius + (count <= LABELLED ? 26 : 14) + free;
    this.thickness = count <= 16 ? 1 : count <= 36 ? 0.8 : 0.6;
    this.points = new Map([...this.place].map(([name, [x, y]]) => [name, [sides + x * (width - 2 * sides), top + y * (height - top - bottom)]]));
    set(this.svg, { viewBox: `0 0 ${width} ${height}`, width, height });
    for (const { a, b, line, grip, cross } of this.edgeParts.values()) {
      const [x1, y1] = this.points.get(a);
      const [x2, y2] = this.points.get(b);
      for (const part of [line, grip]) set(part, { x1, y1, x2, y2 });
      set(cross, { transform: `translate(${(x1 + x2) / 2} ${(y1 + y2) / 2})` });
    }
    for (const [name, { whole, badge, letter, label, inner }] of this.nodeParts) {
      const [x, y] = this.points.get(name);
      const reach = this.radius * 0.78;
      set(whole, { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` });
      set(badge, { cx: reach, cy: -reach, r: Math.max(7, this.radius * 0.42) });
      set(letter, { x: reach, y: -reach, "font-size": Math.max(9, this.radius * 0.52) });
      set(inner, { "font-size": Math.max(8.5, this.radius * 0.66) });
      set(label, { y: this.radius + 16 });
    }
    this.particles.resize(width, height);
    for (const parts of this.nodeParts.values()) delete parts.drawn;
    for (const parts of this.edgeParts.values()) delete parts.drawn;
    this.update(this.session.state);
  }

  update(state) {
    if (!this.points) return;
    const flows = [];
    for (const [key, parts] of this.edgeParts) {
      const edge = edgeBetween(state, parts.a, parts.b);
      this.drawEdge(parts, edge);
      if (edge && !edge.cut && edge.bytes_per_s > 0) flows.push({ key, from: this.points.get(parts.a), to: this.points.get(parts.b), bytes: edge.bytes_per_s });
    }
    for (const [name, parts] of this.nodeParts) this.drawNode(name, parts, state.nodes[name]);
    this.particles.set(flows, this.session.playing || (this.session.following && this.session.connected));
    this.drawOthers(state);
  }

  drawEdge(parts, edge) {
    const text = edgeText(edge);
    if (parts.drawn === text) return;
    parts.drawn = text;
    set(parts.anchor, { class: edge?.cut ? "edge is-cut" : "edge", "aria-label": `Edge ${parts.a} – ${parts.b}: ${text}` });
    const width = (edge?.cut ? CUT_WIDTH : edgeWidth(edge?.bytes_per_s)) * this.thickness;
    set(parts.line, { class: `edge-line ${edge?.cut ? "cut" : delayClass(edge?.delay_ms)}`, "stroke-width": width, "stroke-dasharray": edge?.cut ? "7 7" : lossDashes(edge?.loss, width) });
    setText(parts.title, `${parts.a} – ${parts.b}: ${text}`);
  }

  drawNode(name, parts, node) {
    const text = nodeText(node);
    if (parts.drawn === text) return;
    parts.drawn = text;
    const state = knownState(node?.state);
    set(parts.whole, { class: `node state-${state}` });
    set(parts.anchor, { "aria-label": `${name}: ${text}` });
    set(parts.shape, { d: outline(state, this.radius) });
    const letter = STATES[node?.state]?.letter ?? "?";
    setText(parts.letter, letter);
    set(parts.badge, { visibility: letter ? null : "hidden" });
    setText(parts.title, `${name}: ${text}`);
  }

  drawOthers(state) {
    const others = Object.keys(state.nodes).filter((name) => !this.nodeParts.has(name)).sort();
    keyed(this.others, others, (name) => name,
      (name) => h("li", {}, h("a", { href: link(this.run, "agent", name) }, h("span", { class: "dot", "aria-hidden": "true" }), h("span", {}, name), h("span", { class: "word" }))),
      (item, name) => {
        const { state: its, role } = state.nodes[name];
        set(item, { class: `state-${knownState(its)}` });
        setText(item.querySelector(".word"), its === "up" ? "" : stateWord(its));
        set(item.firstChild, { title: `${role ?? ""} ${stateWord(its)}`.trim() });
      });
    this.others.hidden = !others.length;
  }
}

export function nodeText(node) {
  if (!node) return "unknown";
  return [stateWord(node.state), node.reason, node.waits && `waits for ${node.waits}`].filter(Boolean).join(", ");
}

/** What fits into a node: the number at the end of its name, or two letters. */
function shortName(name) {
  return /(\d{1,3})$/.exec(name)?.[1] ?? name.slice(0, 2);
}

function cut(name) {
  return name.length > 14 ? `${name.slice(0, 13)}…` : name;
}

function polygon(corners, radius, turn) {
  const points = Array.from({ length: corners }, (_, index) => {
    const angle = turn + (2 * Math.PI * index) / corners;
    return `${(radius * Math.cos(angle)).toFixed(2)} ${(radius * Math.sin(angle)).toFixed(2)}`;
  });
  return `M${points.join("L")}z`;
}

/** Circle: up, empty circle: done; hexagon: late; diamond: suspect; octagon: dead; square: paused. */
function outline(state, radius) {
  if (state === "late") return polygon(6, radius * 1.08, 0);
  if (state === "suspect") return polygon(4, radius * 1.2, 0);
  if (state === "dead") return polygon(8, radius * 1.05, Math.PI / 8);
  if (state === "paused" || state === "unknown") return polygon(4, radius * 1.25, Math.PI / 4);
  return `M${radius} 0A${radius} ${radius} 0 1 1 ${-radius} 0A${radius} ${radius} 0 1 1 ${radius} 0z`;
}
