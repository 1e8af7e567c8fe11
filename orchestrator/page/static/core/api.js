// Requests to the page server. Every answer is JSON; an error carries the server's text.

const DEADLINE = 10_000;
const FILM_DEADLINE = 400_000; // it waits for its turn, and is then made

async function ask(path, { deadline = DEADLINE, ...options } = {}) {
  const limit = AbortSignal.timeout(deadline);
  const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
  const answer = await fetch(path, { ...options, signal });
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw Object.assign(new Error(body?.error ?? `the server answered ${answer.status}`), { status: answer.status });
  return body;
}

function query(values) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined) given.set(name, Array.isArray(value) ? value.join(",") : value);
  }
  const text = given.toString();
  return text ? `?${text}` : "";
}

const at = (run, what, values = {}) => `/api/runs/${encodeURIComponent(run)}${what ? `/${what}` : ""}${query(values)}`;

export const api = {
  runs: () => ask("/api/runs"),
  run: (run) => ask(at(run)),
  eventsAddress: (run) => at(run, "events"),
  state: (run, t, signal) => ask(at(run, "state", { at: t }), { signal }),
  metrics: (run, name, { since = null, points = 600 } = {}) => ask(at(run, "metrics", { name, since, points })),
  metricNames: (run) => ask(at(run, "metric-names")),
  log: (run, node, lines) => ask(at(run, "log", { node, lines })),
  edge: (run, a, b, time) => ask(at(run, "edge", { a, b, at: time })),
  film: (run, agent) => ask(at(run, "film", { agent }), { deadline: FILM_DEADLINE }),
  messages: (run, from, to, nodes) => ask(at(run, "messages", { from, to, nodes })),
  why: (run) => ask(at(run, "why")),
  fault: (run, body, token, dry = false) =>
    ask(at(run, "faults", dry ? { dry: 1 } : {}), {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Murmuration-Token": token },
      body: JSON.stringify(body),
    }),
  compare: (runs, name) => ask(`/api/compare${query({ runs, name })}`),
};
