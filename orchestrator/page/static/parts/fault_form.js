// Break it: a fault of a node or an edge, now. Shows the configuration that would schedule the same.
import { api } from "../core/api.js";
import { h, set, setText } from "../core/dom.js";
import { controlToken, rememberToken } from "../core/links.js";
import { card } from "./card.js";

const NODE_ACTIONS = [["kill", "Kill"], ["pause", "Pause"], ["resume", "Resume"]];
const EDGE_ACTIONS = [["cut", "Cut"], ["delay", "Delay"], ["loss", "Lose"], ["heal", "Heal"]];
const VALUES = { delay: ["Delay", "50ms"], loss: ["Share lost", "0.2"] };
const LASTING = ["pause", "cut", "delay", "loss"];
const QUIET = 300; // milliseconds after the last change before the preview is asked for

let forms = 0;

export class FaultForm {
  /** `node` or `edge` (`[a, b]`) fixes the target; without both the reader chooses. */
  constructor(session, { node = null, edge = null } = {}) {
    Object.assign(this, { session, node, edge });
    const name = `action-${(forms += 1)}`;
    const actions = node ? NODE_ACTIONS : edge ? EDGE_ACTIONS : [...NODE_ACTIONS, ...EDGE_ACTIONS];
    this.radios = actions.map(([value, label], index) => h("label", { class: "action" }, h("input", { type: "radio", name, value, checked: index === 0, onchange: () => this.changed() }), h("span", {}, label)));
    this.nodes = select([...session.info.agents, ...session.info.nodes.filter((one) => one.role === "environment").map((one) => one.name)].map((name) => [name, name]), () => this.preview());
    this.edges = select(session.info.edges.map(([a, b], index) => [String(index), `${a} – ${b}`]), () => this.preview());
    this.value = h("input", { type: "text", size: 8, autocomplete: "off", oninput: () => this.preview() });
    this.valueLabel = h("span", {});
    this.lasts = h("input", { type: "text", size: 8, value: "10s", autocomplete: "off", oninput: () => this.preview() });
    this.token = h("input", { type: "password", size: 14, value: controlToken(), autocomplete: "off", onchange: () => { rememberToken(this.token.value); this.preview(); } });
    this.fields = {
      node: h("label", { class: "field" }, h("span", {}, "Node"), this.nodes),
      edge: h("label", { class: "field" }, h("span", {}, "Edge"), this.edges),
      value: h("label", { class: "field" }, this.valueLabel, this.value),
      token: h("label", { class: "field" }, h("span", {}, "Token (printed at the start)"), this.token),
      lasts: h("label", { class: "field" }, h("span", {}, "For"), this.lasts),
    };
    this.yaml = h("pre", { class: "yaml", tabindex: "0", role: "group", "aria-label": "The same fault as configuration" });
    this.copy = h("button", { type: "button", onclick: () => this.copyYaml() }, "Copy");
    this.submit = h("button", { type: "submit", class: "danger" }, "Break it");
    this.answer = h("p", { class: "note answer-line", role: "status" });
    const form = h("form", { class: "fault-form", onsubmit: (event) => this.send(event) },
      h("fieldset", {}, h("legend", {}, "Action"), h("div", { class: "actions" }, this.radios)),
      h("div", { class: "fields" }, Object.values(this.fields), this.submit), this.answer,
      h("div", { class: "yaml-frame" }, h("div", { class: "yaml-head" }, h("span", {}, "The same in ", h("code", {}, "faults.events")), this.copy), this.yaml));
    this.element = card("Break it", { kind: "break-it", note: "Faults of this run, by hand. Each is recorded like a scheduled one." }, form);
    this.changed();
  }

  close() {
    clearTimeout(this.timer);
  }

  get action() {
    return this.radios.map((label) => label.firstChild).find((radio) => radio.checked).value;
  }

  changed() {
    const { action } = this;
    const onNode = NODE_ACTIONS.some(([value]) => value === action);
    this.fields.node.hidden = !onNode || this.node !== null;
    this.fields.edge.hidden = onNode || this.edge !== null;
    this.fields.value.hidden = !VALUES[action];
    if (VALUES[action]) {
      setText(this.valueLabel, VALUES[action][0]);
      this.value.value = VALUES[action][1];
    }
    this.fields.lasts.hidden = !LASTING.includes(action);
    const mends = action === "heal" || action === "resume";
    setText(this.submit, mends ? "Mend it" : "Break it");
    set(this.submit, { class: mends ? "mend" : "danger" });
    setText(this.answer, "");
    this.fields.token.hidden = this.token.value !== "";
    this.preview();
  }

  body() {
    const { action } = this;
    const onNode = NODE_ACTIONS.some(([value]) => value === action);
    const body = { action, nodes: onNode ? [this.node ?? this.nodes.value] : [], edges: onNode ? [] : [this.edge ?? this.session.info.edges[Number(this.edges.value)]] };
    if (VALUES[action]) body.value = action === "loss" ? Number(this.value.value) : this.value.value;
    if (LASTING.includes(action) && this.lasts.value.trim()) body.for = this.lasts.value.trim();
    return body;
  }

  preview() {
    clearTimeout(this.timer);
    this.submit.disabled = this.token.value === "";
    if (this.submit.disabled) {
      this.refuse("Faults need the token that was printed when this page was started.");
      return;
    }
    this.timer = setTimeout(async () => {
      try {
        const answer = await api.fault(this.session.info.id, this.body(), this.token.value, true);
        setText(this.yaml, answer.yaml ?? answer.message ?? "");
        set(this.yaml, { class: "yaml" });
        this.submit.disabled = answer.ok === false;
        this.copy.disabled = !answer.yaml;
      } catch (error) {
        if (error.status === 403) this.fields.token.hidden = false;
        this.refuse(error.message);
      }
    }, QUIET);
  }

  refuse(text) {
    setText(this.yaml, text);
    set(this.yaml, { class: "yaml refused" });
    this.copy.disabled = true;
  }

  async send(event) {
    event.preventDefault();
    this.submit.disabled = true;
    try {
      const answer = await api.fault(this.session.info.id, this.body(), this.token.value);
      setText(this.answer, answer.message ?? "");
    } catch (error) {
      setText(this.answer, `Refused: ${error.message}`);
    } finally {
      this.submit.disabled = false;
    }
  }

  async copyYaml() {
    try {
      await navigator.clipboard.writeText(this.yaml.textContent);
      setText(this.copy, "Copied");
    } catch {
      getSelection().selectAllChildren(this.yaml);
      setText(this.copy, "Selected");
    }
    setTimeout(() => setText(this.copy, "Copy"), 2000);
  }
}

function select(options, changed) {
  return h("select", { onchange: changed }, options.map(([value, label]) => h("option", { value }, label)));
}
