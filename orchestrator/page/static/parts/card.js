// Frames of a view's parts: a heading, controls beside it, and the same data as a table, built when it is opened.
import { h } from "../core/dom.js";

let count = 0;

/** A section with a heading; `tools`: controls beside the heading. */
export function card(title, { kind = "", tools = [], note = null } = {}, ...children) {
  const id = `card-${(count += 1)}`;
  return h("section", { class: `card ${kind}`, "aria-labelledby": id },
    h("div", { class: "card-head" }, h("h3", { id }, title), note && h("p", { class: "card-note" }, note), tools.length ? h("div", { class: "tools" }, tools) : null),
    children);
}

/** Buttons of which one is pressed: `choices` are pairs of value and label. */
export function choice(label, choices, chosen, changed) {
  const buttons = choices.map(([value, text]) =>
    h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => {
      for (const [index, button] of buttons.entries()) button.setAttribute("aria-pressed", String(choices[index][0] === value));
      changed(value);
    } }, text));
  return h("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}

/** "As a table" below a drawing. `rows()` gives `{head: [...], body: [[...]]}`; it is asked while the table is open. */
export class TableAlternative {
  constructor(label, rows) {
    this.rows = rows;
    this.place = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label });
    this.element = h("details", { class: "as-table", ontoggle: () => this.update() }, h("summary", {}, "As a table"), this.place);
  }

  update() {
    if (!this.element.open) return;
    const { head, body } = this.rows();
    const text = JSON.stringify([head, body.map((row) => row.map((cell) => cell?.href ?? cell))]);
    if (this.shown === text) return;
    this.shown = text;
    this.place.replaceChildren(table(head, body));
  }
}

/** A plain table. Cells are texts, or elements. The first cell of a row is its heading. */
export function table(head, body) {
  return h("table", {},
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, body.map((row) => h("tr", {}, row.map((cell, place) => (place ? h("td", {}, cell) : h("th", { scope: "row" }, cell)))))));
}
