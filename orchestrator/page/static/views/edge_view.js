// One edge: what it carries, its delay and loss, the averaging rounds over it, and faults of it by hand.
import { api } from "../core/api.js";
import { h, set, setText } from "../core/dom.js";
import { bytes, grouped, milliseconds, percent, rate, time } from "../core/formats.js";
import { link } from "../core/links.js";
import { levelIcon } from "../core/node_states.js";
import { edgeBetween } from "../core/run_state.js";
import { card, table } from "../parts/card.js";
import { FaultForm } from "../parts/fault_form.js";

const PERIOD = 2_000;
const MEASURED = "Measured by the receivers: delay is half of the round-trip time, the mean over both directions of receipt minus time stamp, queues and injected delays included; a constant difference of the clocks cancels. Loss is the share of sequence numbers that did not arrive, in the worse direction. Injected: what link rules did in the last minute.";

export class EdgeView {
  constructor({ session, parts: [a, b] }) {
    Object.assign(this, { session, a, b, title: `${a} – ${b}` });
    const { info } = session;
    this.known = info.edges.some(([x, y]) => (x === a && y === b) || (x === b && y === a));
    if (!this.known) {
      this.element = h("p", { class: "note" }, `This run has no edge between ${a} and ${b}.`);
      return;
    }
    this.facts = new Map(["Traffic", "Delay now", "Loss now", "Delay, last minute", "Loss, last minute", "Injected delay", "Injected loss"].map((label) => [label, h("dd", {}, "–")]));
    this.pill = h("span", { class: "pill" });
    this.types = h("div", {});
    this.typesOf = h("p", { class: "note" });
    this.rounds = h("div", {});
    this.faults = info.control ? new FaultForm(session, { edge: [a, b] }) : null;
    this.element = h("div", { class: "view edge-page" },
      h("div", { class: "view-head" }, h("h2", {}, h("a", { href: link(info.id, "agent", a) }, a), " – ", h("a", { href: link(info.id, "agent", b) }, b)), this.pill,
        h("a", { class: "button", href: `${link(info.id, "messages")}&nodes=${encodeURIComponent([a, b].join(","))}` }, "Message diagram")),
      h("dl", { class: "facts" }, [...this.facts].map(([label, value]) => h("div", {}, h("dt", {}, label), value))),
      h("p", { class: "note" }, MEASURED),
      h("div", { class: "board" },
        card("Traffic by message type", { kind: "types-card" }, this.typesOf, this.types),
        card("Averaging rounds", { kind: "rounds-card" }, this.rounds),
        this.faults?.element));
    this.load();
    if (info.mode === "live") this.timer = setInterval(() => this.load(), PERIOD);
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
    this.faults?.close();
  }

  /** The time that the page shows; undefined while that is the newest. */
  get at() {
    const { session } = this;
    return session.following || session.at >= session.end ? undefined : session.at;
  }

  async load() {
    if (document.hidden || this.loading) return;
    this.loading = true;
    const at = (this.loadedAt = this.at);
    const answer = await api.edge(this.session.info.id, this.a, this.b, at).catch((error) => ({ problem: error.message }));
    this.loading = false;
    if (this.closed) return;
    if (answer.problem) {
      if (!this.types.firstChild) this.types.replaceChildren(h("p", { class: "note" }, answer.problem));
      return;
    }
    const { injected } = answer;
    setText(this.facts.get("Delay, last minute"), milliseconds(answer.delay_ms));
    setText(this.facts.get("Loss, last minute"), percent(answer.loss));
    setText(this.facts.get("Injected delay"), injected ? `${milliseconds(injected.delay_ms)}${injected.p95_ms === null ? "" : `, 95 %: ${milliseconds(injected.p95_ms)}`}` : "no link rules");
    setText(this.facts.get("Injected loss"), injected ? percent(injected.loss) : "no link rules");
    const text = JSON.stringify(answer);
    if (this.loaded === text) return;
    this.loaded = text;
    setText(this.typesOf, answer.truncated ? `newest messages of ${answer.by_type_of}` : answer.by_type_of);
    this.showTypes(answer.by_type);
    this.showRounds(answer.rounds);
  }

  showTypes(types) {
    if (!types.length) {
      this.types.replaceChildren(h("p", { class: "note" }, "No message was counted on this edge yet."));
      return;
    }
    const sorted = [...types].sort((x, y) => (y.bytes ?? 0) - (x.bytes ?? 0));
    const most = Math.max(1, ...sorted.map((one) => one.bytes ?? 0));
    this.types.replaceChildren(h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Traffic by message type, table" }, table(["Type", "Messages", "Bytes", "Share"], sorted.map((one) => {
      const fill = h("span", {});
      fill.style.width = `${(100 * (one.bytes ?? 0)) / most}%`;
      return [one.type, grouped(one.messages), bytes(one.bytes), h("span", { class: "meter wide", "aria-hidden": "true" }, fill)];
    }))));
  }

  showRounds(rounds) {
    this.rounds.replaceChildren(rounds.length ? h("div", { class: "scroll events-frame", tabindex: "0", role: "group", "aria-label": "Averaging rounds, table" },
      table(["Round", "Time", "Outcome"], [...rounds].reverse().map((one) => [String(one.round), time(one.t, 1), one.text]))) : h("p", { class: "note" }, "No averaging round over this edge yet."));
  }

  update(state) {
    if (!this.known) return;
    const edge = edgeBetween(state, this.a, this.b);
    const cut = Boolean(edge?.cut);
    if (this.cut !== cut) {
      this.cut = cut;
      set(this.pill, { class: `pill ${cut ? "state-dead" : "state-up"}` });
      this.pill.replaceChildren(levelIcon(cut ? "bad" : "good"), h("span", {}, cut ? "cut" : "connected"));
    }
    if (this.at !== this.loadedAt) this.load();
    setText(this.facts.get("Traffic"), rate(edge?.bytes_per_s));
    setText(this.facts.get("Delay now"), milliseconds(edge?.delay_ms));
    setText(this.facts.get("Loss now"), percent(edge?.loss));
  }
}
