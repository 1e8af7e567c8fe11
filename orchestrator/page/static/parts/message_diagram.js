// Messages of a window of time: one vertical line for each node, time runs down, an arrow for each message from where it was sent to where
// it was received. A lost message ends with a cross on its way.
import { h, keyed, s, set, setText } from "../core/dom.js";
import { time } from "../core/formats.js";
import { PALETTE } from "./line_chart.js";
import { TableAlternative } from "./card.js";

const HEAD = 34;
const LEFT = 64;
const RIGHT = 44;
const LOST = 0.55; // share of the way that the arrow of a lost message goes
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "5 2", "12 4", "3 2 3 6", "1 3"];
const ROWS = 300;

export class MessageDiagram {
  constructor() {
    Object.assign(this, { hidden: new Set(), messages: [], names: [], types: [], from: 0, to: 1 });
    this.legend = h("ul", { class: "legend" });
    this.svg = s("svg", { class: "messages", role: "img", "aria-label": "Messages" });
    this.readout = h("p", { class: "note readout" }, "Point at an arrow to read the message.");
    this.frame = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Message diagram" }, this.svg);
    this.alternative = new TableAlternative("Messages, as a table", () => this.rows());
    this.element = h("div", {}, this.legend, this.frame, this.readout, this.alternative.element);
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.element);
  }

  close() {
    this.sizes.disconnect();
  }

  show(messages, names, from, to) {
    Object.assign(this, { messages, names, from, to });
    this.types = [...new Set(messages.map((one) => one.type))].sort();
    keyed(this.legend, this.types, (type) => type, (type) => h("li", {}, h("button", { type: "button", class: "legend-item", onclick: () => this.toggle(type) }, s("svg", { class: "sample", viewBox: "0 0 22 10", "aria-hidden": "true" }, s("line", { x1: 0, y1: 5, x2: 22, y2: 5, "stroke-width": 2 })), h("span", {}, type), h("span", { class: "value" }))),
      (item, type) => {
        set(item.firstChild, { "aria-pressed": String(!this.hidden.has(type)) });
        set(item.querySelector("line"), this.look(type));
        setText(item.querySelector(".value"), String(messages.filter((one) => one.type === type).length));
      });
    this.draw();
    this.alternative.update();
  }

  toggle(type) {
    if (!this.hidden.delete(type)) this.hidden.add(type);
    this.show(this.messages, this.names, this.from, this.to);
  }

  look(type) {
    const index = this.types.indexOf(type) % PALETTE;
    return { stroke: `var(--series-${index})`, "stroke-dasharray": DASHES[index] || null };
  }

  draw() {
    const width = Math.floor(this.element.clientWidth);
    if (width < 60) return;
    const lane = Math.max(this.names.length > 16 ? 46 : 78, (width - LEFT - 20 - RIGHT) / Math.max(1, this.names.length - 1 || 1));
    const total = LEFT + lane * Math.max(0, this.names.length - 1) + 20 + RIGHT;
    const shown = this.messages.filter((one) => !this.hidden.has(one.type));
    const height = Math.min(2400, Math.max(420, HEAD + shown.length * 7));
    const x = new Map(this.names.map((name, index) => [name, LEFT + 20 + index * lane]));
    const y = (t) => HEAD + 12 + ((t - this.from) / Math.max(1e-9, this.to - this.from)) * (height - HEAD - 24);
    set(this.svg, { width: total, height, viewBox: `0 0 ${total} ${height}`, "aria-label": `${shown.length} messages between ${this.names.length} nodes, ${time(this.from, 2)} to ${time(this.to, 2)}` });
    const marks = Array.from({ length: 11 }, (_, index) => this.from + ((this.to - this.from) * index) / 10);
    this.svg.replaceChildren(
      s("g", { class: "rules" }, marks.map((t) => [s("line", { x1: LEFT, y1: y(t), x2: total, y2: y(t) }), s("text", { x: LEFT - 8, y: y(t) + 4, "text-anchor": "end" }, clock(t, this.to - this.from))])),
      s("g", { class: "lanes" }, this.names.map((name) => [s("line", { x1: x.get(name), y1: HEAD, x2: x.get(name), y2: height - 8 }), s("text", { x: x.get(name), y: 18, "text-anchor": "middle" }, name.length > 11 ? `${name.slice(0, 10)}…` : name)])),
      s("g", { class: "arrows" }, shown.filter((one) => x.has(one.src) && x.has(one.dst)).map((one) => this.arrow(one, x, y))));
  }

  arrow(message, x, y) {
    const lost = message.received === null;
    const [x1, y1] = [x.get(message.src), y(message.sent)];
    const full = [x.get(message.dst), y(message.received ?? message.sent + (this.to - this.from) * 0.02)];
    const share = lost ? LOST : 1;
    const [x2, y2] = [x1 + (full[0] - x1) * share, y1 + (full[1] - y1) * share];
    const angle = (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI;
    const look = this.look(message.type);
    const text = describe(message);
    return s("g", { class: lost ? "arrow lost" : "arrow", onpointerenter: () => setText(this.readout, text) },
      s("line", { class: "grip", x1, y1, x2, y2 }), s("line", { x1, y1, x2, y2, ...look }),
      lost ? s("path", { class: "cross", d: "M-4-4 4 4M4-4-4 4", transform: `translate(${x2.toFixed(1)} ${y2.toFixed(1)})` })
        : s("path", { d: "M0 0-7-3v6z", fill: look.stroke, transform: `translate(${x2.toFixed(1)} ${y2.toFixed(1)}) rotate(${angle.toFixed(1)})` }),
      s("title", {}, text));
  }

  rows() {
    const shown = this.messages.filter((one) => !this.hidden.has(one.type)).slice(0, ROWS);
    return { head: ["Sent", "Received", "From", "To", "Type", "Outcome"], body: shown.map((one) => [time(one.sent, 3), one.received === null ? "never" : time(one.received, 3), one.src, one.dst, one.type, one.outcome ?? "–"]) };
  }
}

function clock(t, length) {
  return time(t, length < 0.5 ? 3 : length < 20 ? 2 : 1);
}

function describe({ src, dst, type, sent, received, outcome }) {
  const end = received === null ? `not received (${outcome ?? "lost"})` : `received ${time(received, 3)}, ${((received - sent) * 1000).toFixed(1)} ms`;
  return `${type}: ${src} → ${dst}, sent ${time(sent, 3)}, ${end}`;
}
