// An episode of an agent as a film: made by the server when the reader asks for it.
import { api } from "../core/api.js";
import { h, setText } from "../core/dom.js";
import { number, percent } from "../core/formats.js";

const HINT = "Plays one episode from the newest checkpoints, in a process of its own: likeliest actions, goals given.";

export class EpisodeFilm {
  constructor(run, agent) {
    Object.assign(this, { run, agent });
    this.button = h("button", { type: "button", class: "button", onclick: () => this.load() }, "Play an episode");
    this.status = h("p", { class: "note", role: "status" }, HINT);
    this.place = h("div", { class: "film" });
    this.element = h("div", {}, this.button, this.status, this.place);
  }

  close() {
    this.closed = true;
  }

  async load() {
    this.button.disabled = true;
    setText(this.status, "The episode is being played …");
    try {
      const film = await api.film(this.run, this.agent);
      if (this.closed) return;
      if (film.problem) throw new Error(film.problem);
      const text = this.describe(film);
      this.place.replaceChildren(h("img", { src: film.picture, alt: `Film of an episode: ${text}` }));
      setText(this.status, text);
    } catch (error) {
      setText(this.status, `No film: ${error.message}`);
    } finally {
      this.button.disabled = false;
    }
  }

  describe({ checkpoint, members, goal, length, success, pictures, every, ...film }) {
    return [`checkpoint ${checkpoint}`, members.join(", "), goal && `goal ${goal}`, `return ${number(film.return)}`, success === null ? "" : `success ${percent(success)}`,
      `${length} steps`, `${pictures} pictures${every > 1 ? `, one of ${every} steps` : ""}`].filter(Boolean).join("; ");
  }
}
