// Top of every page: the run, how far it is, and the way to the other pages.
import { h, s, set, setText } from "../core/dom.js";
import { grouped, time } from "../core/formats.js";
import { link } from "../core/links.js";

const PAGES = [["", "Overview"], ["messages", "Messages"], ["compare", "Compare"], ["runs", "Runs"]];
const ENDED = ["DONE", "FAILED", "STOPPED"];

export class Masthead {
  constructor(element) {
    this.name = h("span", { class: "run-name" }, "Murmuration");
    this.connection = h("span", { class: "connection", role: "status" });
    this.facts = h("dl", { class: "run-facts" });
    this.values = {};
    for (const [key, label] of [["state", "State"], ["time", "Time"], ["step", "Step"], ["episode", "Episode"], ["phase", "Phase"]]) {
      this.values[key] = h("dd", {}, "–");
      this.facts.append(h("div", { class: `fact-${key}` }, h("dt", {}, label), this.values[key]));
    }
    this.bar = h("div", { class: "progress", role: "progressbar", "aria-label": "Progress of the run", "aria-valuemin": "0", "aria-valuemax": "100" }, h("span", {}));
    this.links = new Map(PAGES.map(([page, label]) => [page, h("a", {}, label)]));
    element.append(
      h("div", { class: "masthead-row" },
        h("div", { class: "brand" }, emblem(), h("h1", {}, this.name), this.connection),
        h("nav", { "aria-label": "Pages" }, [...this.links.values()]),
        this.facts),
      this.bar);
  }

  show(session, page) {
    const run = session?.info.id;
    setText(this.name, session?.info.name ?? "Murmuration");
    for (const [name, anchor] of this.links) set(anchor, { href: name ? link(run, name) : link(run), "aria-current": name === page ? "page" : null });
    this.facts.hidden = this.bar.hidden = !session;
    if (!session) this.connection.hidden = true;
  }

  update(session) {
    const { state, info } = session;
    const live = info.mode === "live";
    const ended = ENDED.includes(state.run_state);
    const kind = !live ? "replay" : !session.connected ? "away" : !session.following ? "past" : ended ? "replay" : "live";
    this.connection.hidden = false;
    set(this.connection, { class: `connection ${kind}` });
    setText(this.connection, { replay: "recorded", away: "reconnecting …", live: "live", past: "in the past" }[kind]);
    setText(this.values.state, state.run_state?.toLowerCase() ?? "–");
    setText(this.values.phase, state.phase || "–");
    setText(this.values.time, time(state.t));
    setText(this.values.step, state.total_steps ? `${grouped(state.step)} of ${grouped(state.total_steps)}` : grouped(state.step));
    setText(this.values.episode, grouped(state.episode));
    const share = state.total_steps && state.step !== null ? Math.min(1, state.step / state.total_steps) : null;
    this.bar.classList.toggle("unknown", share === null);
    set(this.bar, { "aria-valuenow": share === null ? null : Math.round(share * 100) });
    this.bar.firstChild.style.width = share === null ? "0" : `${(share * 100).toFixed(1)}%`;
  }
}

function emblem() {
  return s("svg", { class: "emblem", viewBox: "0 0 32 32", "aria-hidden": "true" },
    s("path", { d: "M8 20 15 10l9 5-6 8z" }),
    [[8, 20], [15, 10], [24, 15], [18, 23]].map(([cx, cy]) => s("circle", { cx, cy, r: 3 })));
}
