// States of nodes and levels of answers: each has a word, a shape and a letter, so that none is told by its colour alone.
import { h, s, set, setText } from "./dom.js";

/** state -> word, letter on the badge, and why a reader cares */
export const STATES = {
  up: { word: "up", letter: "" },
  late: { word: "late", letter: "L" },
  suspect: { word: "suspect", letter: "?" },
  dead: { word: "dead", letter: "✕" },
  paused: { word: "paused", letter: "‖" },
  done: { word: "done", letter: "" },
};

export function knownState(state) {
  return STATES[state] ? state : "unknown";
}

export function stateWord(state) {
  return STATES[state]?.word ?? (state ? String(state) : "unknown");
}

const PATHS = {
  good: "M3.5 8.5l3 3 6-7",
  warn: "M8 4.2v4.6M8 11.4v.6",
  bad: "M4.8 4.8l6.4 6.4M11.2 4.8l-6.4 6.4",
  unknown: "M5.8 6.1a2.3 2.3 0 1 1 3.2 2.1c-.7.3-1 .7-1 1.4M8 11.9v.4",
};
const OUTLINES = {
  good: "M8 .8a7.2 7.2 0 1 0 0 14.4A7.2 7.2 0 0 0 8 .8z",
  warn: "M8 .9 15.6 14.4H.4z",
  bad: "M5 .8h6L15.2 5v6L11 15.2H5L.8 11V5z",
  unknown: "M3 .8h10A2.2 2.2 0 0 1 15.2 3v10a2.2 2.2 0 0 1-2.2 2.2H3A2.2 2.2 0 0 1 .8 13V3A2.2 2.2 0 0 1 3 .8z",
};
export const LEVEL_WORDS = { good: "Good", warn: "Attention", bad: "Problem", unknown: "Unknown" };
const LEVEL_OF_STATE = { up: "good", done: "good", late: "warn", suspect: "warn", paused: "warn", dead: "bad" };

export function knownLevel(level) {
  return OUTLINES[level] ? level : "unknown";
}

/** An icon of a level: circle with a tick, triangle, octagon with a cross, square with a question mark. */
export function levelIcon(level) {
  const known = knownLevel(level);
  return s("svg", { class: `level-icon ${known}`, viewBox: "0 0 16 16", "aria-hidden": "true" },
    s("path", { class: "outline", d: OUTLINES[known] }), s("path", { class: "stroke", d: PATHS[known] }));
}

/** Icon and word of a state; `updatePill` changes it in place. */
export function statePill(state) {
  const pill = h("span", { class: "pill" });
  return updatePill(pill, state);
}

export function updatePill(pill, state) {
  if (pill.dataset.state === String(state)) return pill;
  pill.dataset.state = String(state);
  set(pill, { class: `pill state-${knownState(state)}` });
  pill.replaceChildren(levelIcon(LEVEL_OF_STATE[state]), h("span", {}, stateWord(state)));
  return pill;
}

/** Text that changes in place with a level's icon. */
export function updateLevel(element, level, text) {
  if (element.dataset.level !== level) {
    element.dataset.level = level;
    element.querySelector(".level-icon")?.replaceWith(levelIcon(level));
  }
  setText(element.querySelector(".text"), text);
}
