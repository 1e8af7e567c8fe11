// Metrics of a run, loaded once and continued while the run goes on.
import { api } from "./api.js";

const PERIOD = 2_000;
const POINTS = 600;

export class RunMetrics extends EventTarget {
  /** `names`: metrics to load; `session`: whose run. Event `change` after new values. */
  constructor(session, names) {
    super();
    this.session = session;
    this.names = names;
    this.series = new Map();
    this.refresh();
    if (session.info.mode === "live") this.timer = setInterval(() => this.refresh(), PERIOD);
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
  }

  /** Series `[{node, t, step, v}]` of a metric. */
  of(name) {
    return this.series.get(name) ?? [];
  }

  async refresh() {
    if (this.busy || document.hidden) return;
    this.busy = true;
    try {
      const loaded = await Promise.all(this.names.map((name) => this.load(name)));
      if (!this.closed && loaded.some(Boolean)) this.dispatchEvent(new Event("change"));
    } catch {
      // The stream tells the reader that the server is away; the next period tries again.
    } finally {
      this.busy = false;
    }
  }

  async load(name) {
    const before = this.of(name);
    const longest = Math.max(0, ...before.map((one) => one.t.length));
    // What was added piece by piece is not thinned out: after a while everything is loaded again.
    const since = before.length && longest < 2 * POINTS ? Math.max(...before.map((one) => one.t.at(-1) ?? 0)) - 1 : null;
    const answer = await api.metrics(this.session.info.id, name, { since, points: POINTS });
    this.series.set(name, since === null ? answer.series : continued(before, answer.series));
    return answer.series.some((one) => one.t.length);
  }
}

function continued(before, added) {
  const result = new Map(before.map((one) => [one.node, one]));
  for (const one of added) {
    const old = result.get(one.node);
    const last = old?.t.at(-1) ?? -Infinity;
    const from = one.t.findIndex((t) => t > last);
    if (from < 0) continue;
    const tail = { node: one.node, t: one.t.slice(from), step: one.step.slice(from), v: one.v.slice(from) };
    result.set(one.node, old ? { node: one.node, t: [...old.t, ...tail.t], step: [...old.step, ...tail.step], v: [...old.v, ...tail.v] } : tail);
  }
  return [...result.values()];
}
