// Where the time goes: one bar for each node, stacked by part, with the share written where it fits.
import { h, keyed, set, setText } from "../core/dom.js";
import { percent } from "../core/formats.js";
import { link } from "../core/links.js";
import { TableAlternative } from "./card.js";

const KNOWN = ["act", "step", "sample", "learn", "model", "exchange", "send", "checkpoint", "wait", "other"];
const LABELS = { act: "act", step: "step the environment", sample: "sample", learn: "learn", model: "world model", exchange: "exchange", send: "send", checkpoint: "checkpoint", wait: "wait", other: "other" };
const WRITTEN = 0.09;

function order(parts) {
  const place = (part) => (KNOWN.includes(part) ? KNOWN.indexOf(part) : KNOWN.length - 1.5);
  return Object.keys(parts).filter((part) => parts[part] > 0).sort((a, b) => place(a) - place(b));
}

const kind = (part) => `part-${KNOWN.includes(part) ? part : "more"}`;

export class TimeBars {
  constructor(run) {
    this.run = run;
    this.list = h("ul", { class: "time-bars" });
    this.legend = h("ul", { class: "legend" });
    this.empty = h("p", { class: "note" }, "Not measured yet.");
    this.alternative = new TableAlternative("Where the time goes, as a table", () => this.rows());
    this.element = h("div", {}, this.legend, this.empty, this.list, this.alternative.element);
    this.time = {};
  }

  update(state, only = null) {
    this.time = only === null ? state.time : state.time[only] ? { [only]: state.time[only] } : {};
    const names = Object.keys(this.time).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    this.names = names;
    this.empty.hidden = names.length > 0;
    this.alternative.element.hidden = !names.length;
    this.list.classList.toggle("dense", names.length > 16);
    keyed(this.list, names, (name) => name, (name) => this.bar(name), (item, name) => fill(item, name, this.time[name]));
    const parts = order(Object.assign({}, ...Object.values(this.time).map((one) => Object.fromEntries(Object.entries(one).filter(([, share]) => share > 0)))));
    keyed(this.legend, parts, (part) => part, (part) => h("li", {}, h("span", { class: "legend-item" }, h("span", { class: `swatch ${kind(part)}`, "aria-hidden": "true" }), h("span", {}, LABELS[part] ?? part))));
    this.alternative.update();
  }

  bar(name) {
    const label = name === "all" ? h("span", {}, "all agents") : h("a", { href: link(this.run, "agent", name) }, name);
    return h("li", {}, h("span", { class: "who" }, label), h("span", { class: "bar", role: "img" }));
  }

  rows() {
    const parts = order(Object.assign({}, ...Object.values(this.time)));
    return { head: ["Node", ...parts.map((part) => LABELS[part] ?? part)], body: this.names.map((name) => [name, ...parts.map((part) => percent(this.time[name][part] ?? 0))]) };
  }
}

function fill(item, name, shares) {
  const bar = item.querySelector(".bar");
  const parts = order(shares);
  const total = Math.max(1, parts.reduce((sum, part) => sum + shares[part], 0));
  keyed(bar, parts, (part) => part, (part) => h("span", { class: `part ${kind(part)}` }), (element, part) => {
    const share = shares[part] / total;
    element.style.width = `${(100 * share).toFixed(2)}%`;
    setText(element, share >= WRITTEN ? percent(Number(share.toFixed(2))) : "");
    set(element, { title: `${LABELS[part] ?? part}: ${percent(share)}` });
  });
  set(bar, { "aria-label": `${name}: ${parts.map((part) => `${LABELS[part] ?? part} ${percent(shares[part] / total)}`).join(", ")}` });
}
