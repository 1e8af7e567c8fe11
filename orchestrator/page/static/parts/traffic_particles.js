// Dots that move along the edges, more of them where more is sent. Drawn on a canvas over the graph, at 30 frames a second; still where the
// reader asked for reduced motion, while the page is hidden, and while the run stands still.
import { colour, reducedMotion, sizedContext } from "../core/dom.js";

const FRAME = 1000 / 30;
const SPEED = 70; // CSS pixels per second
const MOST = 72;

export class TrafficParticles {
  constructor(canvas) {
    this.canvas = canvas;
    this.flows = [];
    this.dots = [];
    this.moving = false;
    this.last = 0;
    this.check = () => this.start();
    document.addEventListener("visibilitychange", this.check);
    reducedMotion.addEventListener("change", this.check);
  }

  close() {
    this.moving = false;
    cancelAnimationFrame(this.frame);
    this.frame = null;
    document.removeEventListener("visibilitychange", this.check);
    reducedMotion.removeEventListener("change", this.check);
  }

  resize(width, height) {
    Object.assign(this, { width, height });
    this.context = sizedContext(this.canvas, width, height);
    this.dots = [];
  }

  /** `flows`: `[{key, from: [x, y], to: [x, y], bytes}]` in CSS pixels and bytes per second. */
  set(flows, moving) {
    const before = new Map(this.flows.map((flow) => [flow.key, flow.due]));
    this.flows = flows.map((flow) => ({ ...flow, length: Math.hypot(flow.to[0] - flow.from[0], flow.to[1] - flow.from[1]), rate: Math.min(2.5, Math.max(0, Math.log10(flow.bytes / 30)) * 0.6), due: before.get(flow.key) ?? Math.random() }));
    // Dots in flight at these rates, brought below the limit.
    const expected = this.flows.reduce((sum, flow) => sum + (flow.rate * flow.length) / SPEED, 0);
    const share = Math.min(1, MOST / Math.max(1, expected));
    for (const flow of this.flows) flow.rate *= share;
    const keys = new Set(flows.map((flow) => flow.key));
    this.dots = this.dots.filter((dot) => keys.has(dot.key));
    this.moving = moving;
    this.start();
  }

  start() {
    const run = this.moving && !document.hidden && !reducedMotion.matches;
    if (run && !this.frame) {
      this.last = performance.now();
      this.ink = colour("--particle");
      this.frame = requestAnimationFrame((now) => this.step(now));
    } else if (!run) {
      cancelAnimationFrame(this.frame);
      this.frame = null;
      this.dots = [];
      this.context?.clearRect(0, 0, this.width, this.height);
    }
  }

  step(now) {
    this.frame = requestAnimationFrame((next) => this.step(next));
    const passed = now - this.last;
    if (passed < FRAME) return;
    this.last = now;
    const seconds = Math.min(0.1, passed / 1000);
    for (const flow of this.flows) {
      flow.due += flow.rate * seconds;
      if (flow.due < 1 || this.dots.length >= MOST || flow.length < 1) continue;
      flow.due -= 1 + Math.random() * 0.3;
      flow.back = !flow.back;
      const [from, to] = flow.back ? [flow.to, flow.from] : [flow.from, flow.to];
      this.dots.push({ key: flow.key, from, to, length: flow.length, gone: 0 });
    }
    this.dots = this.dots.filter((dot) => (dot.gone += SPEED * seconds) < dot.length);
    this.draw();
  }

  draw() {
    const { context } = this;
    context.clearRect(0, 0, this.width, this.height);
    context.fillStyle = this.ink;
    for (const { from, to, length, gone } of this.dots) {
      const share = gone / length;
      context.globalAlpha = Math.min(1, 6 * share, 6 * (1 - share));
      context.beginPath();
      context.arc(from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share, 2.2, 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
  }
}
