// Messages between chosen nodes in a chosen window of time, as a diagram.
import { api } from "../core/api.js";
import { h, setText } from "../core/dom.js";
import { grouped, time } from "../core/formats.js";
import { card } from "../parts/card.js";
import { MessageDiagram } from "../parts/message_diagram.js";

const LENGTHS = [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10];
const NODES = 8; // chosen at first
const QUIET = 250;

export class MessagesView {
  constructor({ session, query }) {
    Object.assign(this, { session, title: "Messages", length: 0.5 });
    const { info } = session;
    const given = query.get("nodes")?.split(",");
    this.names = info.nodes.filter((node) => node.role === "agent" || node.role === "environment").map((node) => node.name);
    this.chosen = new Set(given ?? info.agents.slice(0, NODES));
    this.from = Math.max(info.span[0], (session.following ? session.end : session.at) - this.length);
    this.start = h("input", { type: "number", step: "any", min: info.span[0], value: this.from.toFixed(2), onchange: () => this.move(Number(this.start.value)) });
    this.lengths = h("select", { onchange: () => { this.length = Number(this.lengths.value); this.load(); } },
      LENGTHS.map((length) => h("option", { value: length, selected: length === this.length }, length < 1 ? `${Math.round(length * 1000)} ms` : `${length} s`)));
    this.status = h("p", { class: "note", role: "status" });
    this.diagram = new MessageDiagram();
    this.element = h("div", { class: "view messages-page" }, h("div", { class: "view-head" }, h("h2", {}, "Messages")),
      card("Window", { kind: "window-card" },
        h("div", { class: "fields" },
          h("button", { type: "button", onclick: () => this.move(this.from - this.length) }, "Earlier"),
          h("label", { class: "field" }, h("span", {}, "From, s"), this.start),
          h("label", { class: "field" }, h("span", {}, "Length"), this.lengths),
          h("button", { type: "button", onclick: () => this.move(this.from + this.length) }, "Later")),
        h("fieldset", { class: "node-choice" }, h("legend", {}, "Nodes"),
          this.names.map((name) => h("label", { class: "check" }, h("input", { type: "checkbox", checked: this.chosen.has(name), onchange: (event) => this.choose(name, event.target.checked) }), h("span", {}, name))))),
      card("Diagram", { kind: "diagram-card" }, this.status, this.diagram.element));
    this.seen = session.at;
    this.load();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.diagram.close();
  }

  choose(name, on) {
    if (on) this.chosen.add(name);
    else this.chosen.delete(name);
    this.load();
  }

  move(from) {
    const { info, end } = this.session;
    if (!Number.isFinite(from)) return;
    this.from = Math.max(info.span[0], Math.min(from, end));
    this.start.value = this.from.toFixed(2);
    this.load();
  }

  load() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.request(), QUIET);
  }

  async request() {
    const nodes = this.names.filter((name) => this.chosen.has(name));
    const [from, to] = [this.from, this.from + this.length];
    this.asked = from;
    try {
      const answer = await api.messages(this.session.info.id, from, to, nodes);
      if (this.closed || this.asked !== from) return;
      this.diagram.element.hidden = !answer.messages.length;
      const lost = answer.messages.filter((one) => one.received === null).length;
      const count = `${grouped(answer.messages.length)} messages from ${time(from, 2)} to ${time(to, 2)}${lost ? `, ${lost} of them not received` : ""}.`;
      setText(this.status, answer.messages.length ? count + (answer.truncated ? " There are more: choose a shorter window or fewer nodes." : "") : answer.why_empty ?? "No message in this window.");
      this.diagram.show(answer.messages, nodes, from, to);
    } catch (error) {
      if (!this.closed) setText(this.status, error.message);
    }
  }

  /** The window follows the slider of the replay, but not a live run, which would carry it away. */
  update(_, session) {
    if (session.following || session.at === this.seen) return;
    this.seen = session.at;
    if (!session.playing) this.move(session.at - this.length / 2);
  }
}
