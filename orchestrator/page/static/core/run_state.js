// The state of a run as the server sends it: a whole snapshot, then changes.

export function emptyState() {
  return { t: null, step: null, total_steps: null, episode: null, run_state: null, phase: null,
    nodes: {}, edges: {}, answers: {}, events: [], goals: {}, goal_labels: [], time: {}, faults: [] };
}

/** A snapshot with everything that the page reads. */
export function fromSnapshot(snapshot) {
  return { ...emptyState(), ...snapshot };
}

/** The state after a change: of nodes, edges, shares of time and goals, entries by name, where null removes one; everything else is replaced. The
 * old state stays as it is. */
export function withDelta(state, delta) {
  const next = { ...state, ...delta };
  for (const part of ["nodes", "edges", "time", "goals"]) {
    if (!delta[part]) continue;
    next[part] = { ...state[part], ...delta[part] };
    for (const [name, entry] of Object.entries(delta[part])) if (entry === null) delete next[part][name];
  }
  return next;
}

/** Both ends of an edge from its name in the state. */
export function ends(name) {
  const place = name.indexOf("|");
  return [name.slice(0, place), name.slice(place + 1)];
}

/** The state of the edge between two nodes, whichever stands first in its name. */
export function edgeBetween(state, a, b) {
  return state.edges[`${a}|${b}`] ?? state.edges[`${b}|${a}`] ?? null;
}
