// One row for each process: state, resources, what it waits for, what it has learnt. A click on a heading sorts.
import { h, keyed, set, setText } from "../core/dom.js";
import { bytes, number, percent } from "../core/formats.js";
import { link } from "../core/links.js";
import { STATES, statePill, updatePill } from "../core/node_states.js";

const ORDER = ["dead", "suspect", "late", "paused", "up", "done"];
const COLUMNS = [
  { key: "name", label: "Node", value: (name) => name },
  { key: "state", label: "State", value: (_, node) => (STATES[node.state] ? ORDER.indexOf(node.state) : ORDER.length) },
  { key: "return", label: "Return", number: true, value: (_, node) => node.return, text: number },
  { key: "success", label: "Success", number: true, value: (_, node) => node.success, text: percent },
  { key: "cpu", label: "CPU", number: true, value: (_, node) => node.cpu, text: percent },
  { key: "memory", label: "Memory", number: true, value: (_, node) => node.memory, text: bytes },
  { key: "restarts", label: "Restarts", number: true, value: (_, node) => node.restarts, text: (value) => String(value ?? "–") },
  { key: "waits", label: "Waits for", value: (_, node) => node.waits ?? "" },
];

export class NodeTable {
  constructor(run) {
    this.run = run;
    this.sorted = { key: "name", down: false };
    this.headings = new Map(COLUMNS.map((column) => [column.key, h("th", { scope: "col", class: column.number ? "number" : null },
      h("button", { type: "button", onclick: () => this.sort(column.key) }, column.label))]));
    this.body = h("tbody", {});
    this.element = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Nodes, table" },
      h("table", { class: "nodes" }, h("thead", {}, h("tr", {}, [...this.headings.values()])), this.body));
    this.markHeadings();
  }

  sort(key) {
    this.sorted = { key, down: this.sorted.key === key ? !this.sorted.down : COLUMNS.find((column) => column.key === key).number === true };
    this.markHeadings();
    this.update(this.state);
  }

  markHeadings() {
    for (const [key, heading] of this.headings) set(heading, { "aria-sort": key !== this.sorted.key ? null : this.sorted.down ? "descending" : "ascending" });
  }

  update(state) {
    this.state = state;
    const column = COLUMNS.find((one) => one.key === this.sorted.key);
    const rows = Object.entries(state.nodes).sort(([a, x], [b, y]) => {
      const compared = compare(column.value(a, x), column.value(b, y), this.sorted.down);
      return compared || a.localeCompare(b, "en", { numeric: true });
    });
    keyed(this.body, rows, ([name]) => name, ([name]) => this.row(name), (row, [name, node]) => this.fill(row, name, node));
  }

  row(name) {
    return h("tr", {}, COLUMNS.map((column) => {
      if (column.key === "name") return h("th", { scope: "row" }, h("a", { href: link(this.run, "agent", name) }, name));
      if (column.key === "state") return h("td", {}, statePill("unknown"));
      if (column.key === "cpu") return h("td", { class: "number" }, h("span", { class: "meter", "aria-hidden": "true" }, h("span", {})), h("span", { class: "text" }));
      return h("td", { class: column.number ? "number" : `column-${column.key}` });
    }));
  }

  fill(row, name, node) {
    COLUMNS.forEach((column, index) => {
      const cell = row.children[index];
      if (column.key === "name") return;
      if (column.key === "state") {
        updatePill(cell.firstChild, node.state);
        set(cell, { title: node.reason || null });
      } else if (column.key === "cpu") {
        cell.querySelector(".meter").hidden = node.cpu === null;
        cell.querySelector(".meter > span").style.width = `${Math.min(100, 100 * (node.cpu ?? 0)).toFixed(0)}%`;
        setText(cell.querySelector(".text"), percent(node.cpu));
      } else setText(cell, column.text ? column.text(column.value(name, node)) : column.value(name, node) || "–");
    });
  }
}

/** Unknown values come last in both directions. */
function compare(a, b, down) {
  const missing = (value) => value === null || value === undefined || value === "";
  if (missing(a) || missing(b)) return Number(missing(a)) - Number(missing(b));
  const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return down ? -order : order;
}
