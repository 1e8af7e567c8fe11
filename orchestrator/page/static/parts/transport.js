// Bar at the bottom: where in the run the page is. A finished run is replayed; a live run can be looked at earlier, and followed again.
import { h, s, set, setText } from "../core/dom.js";
import { time } from "../core/formats.js";

const SPEEDS = [0.25, 1, 4, 16, 64];
const STEPS = 1000;

export class Transport {
  constructor(element) {
    this.element = element;
    this.play = h("button", { type: "button", class: "play", onclick: () => this.toggle() });
    this.slider = h("input", { type: "range", min: 0, max: STEPS, value: STEPS, step: 1, "aria-label": "Time of the run", oninput: () => this.moved() });
    this.marks = s("svg", { class: "marks", viewBox: `0 0 ${STEPS} 10`, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.now = h("output", { class: "now" });
    this.speed = h("select", { "aria-label": "Speed", onchange: () => { this.session.speed = Number(this.speed.value); } },
      SPEEDS.map((speed) => h("option", { value: speed, selected: speed === 1 }, `${speed}×`)));
    this.follow = h("button", { type: "button", class: "follow", onclick: () => this.session.follow() }, "Follow live");
    element.append(this.play, this.now, h("div", { class: "track" }, this.marks, this.slider), this.speed, this.follow);
    set(element, { "aria-label": "Time of the run" });
  }

  show(session) {
    this.session = session;
    this.element.hidden = !session;
    document.body.classList.toggle("with-transport", Boolean(session));
    if (session) this.speed.value = String(session.speed);
  }

  toggle() {
    if (this.session.playing) this.session.pause();
    else this.session.play();
  }

  moved() {
    const [start] = this.session.info.span;
    this.session.pause();
    this.session.seek(start + ((this.session.end - start) * Number(this.slider.value)) / STEPS);
  }

  update(session) {
    if (session !== this.session) return;
    const [start] = session.info.span;
    const length = Math.max(1e-9, session.end - start);
    if (this.play.dataset.playing !== String(session.playing)) {
      this.play.dataset.playing = String(session.playing);
      set(this.play, { "aria-label": session.playing ? "Pause" : "Play" });
      this.play.replaceChildren(s("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: session.playing ? "M4 3h3v10H4zM9 3h3v10H9z" : "M4 2.5v11l9-5.5z" })));
    }
    this.slider.value = String(Math.round((STEPS * (session.at - start)) / length));
    set(this.slider, { "aria-valuetext": `${time(session.at)} of ${time(session.end)}` });
    setText(this.now, `${time(session.at)} / ${time(session.end)}`);
    this.follow.hidden = session.info.mode !== "live" || session.following;
    this.drawMarks(session, start, length);
  }

  /** Faults as bands above the slider. */
  drawMarks(session, start, length) {
    const { faults } = session;
    const key = JSON.stringify([faults, Math.round(length)]);
    if (this.drawn === key) return;
    this.drawn = key;
    this.marks.replaceChildren(...faults.map((fault) => {
      const x = (STEPS * (fault.t - start)) / length;
      const width = Math.max(3, (STEPS * ((fault.until ?? session.end) - fault.t)) / length);
      return s("rect", { class: "fault", x: x.toFixed(1), y: 0, width: width.toFixed(1), height: 10 });
    }));
  }
}
