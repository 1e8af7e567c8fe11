// The three answers at the top: is anything idle, who waits for whom, does it learn.
import { h, set, setText } from "../core/dom.js";
import { LEVEL_WORDS, knownLevel, levelIcon, updateLevel } from "../core/node_states.js";

const QUESTIONS = [["idle", "Is anything idle?"], ["waits", "Who waits for whom?"], ["learning", "Is it learning?"]];

export class AnswerCards {
  constructor() {
    this.cards = new Map(QUESTIONS.map(([key, question]) => [key, h("li", { class: "answer" },
      levelIcon("unknown"), h("div", {}, h("h3", {}, question, h("span", { class: "level-word" })), h("p", { class: "text" })))]));
    this.element = h("ul", { class: "answers", "aria-label": "The run at a glance" }, [...this.cards.values()]);
  }

  update(state) {
    for (const [key, element] of this.cards) {
      const answer = state.answers[key];
      const level = knownLevel(answer?.level);
      set(element, { class: `answer level-${level}` });
      setText(element.querySelector(".level-word"), LEVEL_WORDS[level]);
      updateLevel(element, level, answer && answer.text !== level ? answer.text : "Not known yet.");
    }
  }
}
