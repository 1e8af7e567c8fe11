// What happened, newest first.
import { h, keyed, set } from "../core/dom.js";
import { time } from "../core/formats.js";
import { link } from "../core/links.js";

const SHOWN = 100;

export class EventList {
  /** `node`: only events of this node. */
  constructor(session, node = null) {
    Object.assign(this, { session, node });
    this.list = h("ol", { class: "events" });
    this.empty = h("p", { class: "note" }, "No events yet.");
    this.element = h("div", { class: "scroll events-frame", tabindex: "0", role: "group", "aria-label": "Events, newest first" }, this.empty, this.list);
  }

  update(state) {
    if (this.events === state.events) return;
    this.events = state.events;
    const seen = new Map();
    const entries = state.events.filter((event) => this.node === null || event.node === this.node).slice(-SHOWN).map((event) => {
      const text = JSON.stringify([event.t, event.kind, event.node, event.text]);
      seen.set(text, (seen.get(text) ?? 0) + 1);
      return { event, key: `${text}${seen.get(text)}` };
    });
    keyed(this.list, entries.reverse(), (entry) => entry.key, ({ event }) => this.item(event));
    this.empty.hidden = entries.length > 0;
  }

  item({ t, kind, node, text }) {
    const nodes = this.session.info.nodes.map((one) => one.name);
    const where = node && this.node === null && (nodes.includes(node) ? h("a", { href: link(this.session.info.id, "agent", node) }, node) : h("span", {}, node));
    return set(h("li", {}, h("span", { class: "when" }, time(t)), h("div", { class: "what" }, h("span", { class: "kind" }, kind), " ", where, where && " ", where && text.startsWith(`${node} `) ? text.slice(node.length + 1) : text)), { "data-kind": kind });
  }
}
