// One run as the page follows it: live from the stream of the server, or at a chosen time of it. Events of this object: `state` after
// every new state, `connection` when the stream comes or goes, `mode` when the reader starts or ends a replay.
import { api } from "./api.js";
import { fromSnapshot, withDelta } from "./run_state.js";

const FRAME = 250; // milliseconds between two states of a replay
const PATIENCE = 1_000; // before a stream that the browser gave up is opened again

/** The end of a process is a moment: it lasts no time, and no event ends it. */
const MOMENT = /kill|term|exit|oom/;
const ended = (fault) => (fault.until === null && MOMENT.test(fault.kind) ? { ...fault, until: fault.t } : fault);

export class RunSession extends EventTarget {
  constructor(info) {
    super();
    this.info = info;
    this.state = fromSnapshot({});
    this.faults = []; // of the newest state: charts and the slider show them at any time of a replay
    this.faultsAt = -Infinity;
    this.connected = false;
    this.following = info.mode === "live";
    this.playing = false;
    this.speed = 1;
    this.at = info.span[1];
    this.end = info.span[1];
  }

  start() {
    if (this.info.mode === "live") this.openStream();
    else this.seek(this.end);
  }

  close() {
    this.closed = true;
    this.stream?.close();
    clearTimeout(this.retry);
    clearInterval(this.timer);
    this.request?.abort();
  }

  openStream() {
    this.stream?.close();
    const stream = (this.stream = new EventSource(api.eventsAddress(this.info.id)));
    stream.addEventListener("snapshot", (event) => {
      this.setConnected(true);
      this.live = fromSnapshot(JSON.parse(event.data));
      this.showLive();
    });
    stream.addEventListener("delta", (event) => {
      if (!this.live) return;
      this.live = withDelta(this.live, JSON.parse(event.data));
      this.showLive();
    });
    stream.onerror = () => {
      this.setConnected(false);
      // The browser connects again by itself, except after an answer that is no stream.
      if (stream.readyState === EventSource.CLOSED && !this.closed) this.retry = setTimeout(() => this.openStream(), PATIENCE);
    };
  }

  setConnected(connected) {
    if (this.connected === connected) return;
    this.connected = connected;
    this.dispatchEvent(new Event("connection"));
  }

  showLive() {
    this.end = Math.max(this.end, this.live.t ?? 0);
    if (this.following) this.show(this.live, this.end);
    else this.dispatchEvent(new Event("span"));
  }

  show(state, at) {
    this.state = state;
    const newest = this.live ?? state;
    if (newest.faults !== this.reported && (newest.t ?? 0) >= this.faultsAt) {
      Object.assign(this, { reported: newest.faults, faults: newest.faults.map(ended), faultsAt: newest.t ?? 0 });
    }
    this.at = at;
    this.dispatchEvent(new Event("state"));
  }

  /** The state at `t` seconds; a request in flight is given up. */
  async seek(t) {
    this.setFollowing(false);
    this.at = Math.min(this.end, Math.max(this.info.span[0], t));
    this.request?.abort();
    const request = (this.request = new AbortController());
    this.dispatchEvent(new Event("span"));
    try {
      const state = await api.state(this.info.id, this.at, request.signal);
      if (this.request === request && !this.closed && !this.following) this.show(fromSnapshot(state), this.at);
      this.problem = null;
    } catch (error) {
      if (!request.signal.aborted) this.problem = error.message;
    } finally {
      if (this.request === request) this.request = null;
    }
  }

  follow() {
    this.pause();
    this.setFollowing(true);
    if (this.live) this.show(this.live, this.end);
  }

  setFollowing(following) {
    if (this.following === following) return;
    this.following = following;
    this.dispatchEvent(new Event("mode"));
  }

  play() {
    if (this.at >= this.end) this.at = this.info.span[0];
    this.setFollowing(false);
    this.playing = true;
    clearInterval(this.timer);
    this.timer = setInterval(() => this.frame(), FRAME);
    this.dispatchEvent(new Event("mode"));
  }

  pause() {
    this.playing = false;
    clearInterval(this.timer);
    this.dispatchEvent(new Event("mode"));
  }

  frame() {
    const next = this.at + (this.speed * FRAME) / 1000;
    if (next >= this.end) this.pause();
    if (this.request) this.at = next; // the server is slower than the replay: skip a state, keep the pace
    else this.seek(next);
  }
}
