// The graph as a matrix on a canvas, for more nodes than a drawing of lines can show: one cell for each pair, coloured by traffic; a cut is
// red with a cross, loss is a dot. The reader moves over it with the pointer, or reads the table of edges.
import { colour, darkScheme, h, setText, sizedContext } from "../core/dom.js";
import { link } from "../core/links.js";
import { edgeBetween } from "../core/run_state.js";
import { edgeText } from "./edge_style.js";

const MARGIN = 18;

export class AdjacencyMap {
  constructor(session) {
    this.session = session;
    this.names = session.info.agents;
    this.place = new Map(this.names.map((name, index) => [name, index]));
    this.canvas = h("canvas", { role: "img", "aria-label": `Adjacency matrix of ${this.names.length} agents; the table below has the same data`, onpointermove: (event) => this.point(event), onclick: (event) => this.open(event) });
    this.readout = h("p", { class: "note readout" }, "Point at a cell to read an edge.");
    this.frame = h("div", { class: "matrix" }, this.canvas);
    this.element = h("div", {}, this.frame, this.readout);
    this.sizes = new ResizeObserver(() => this.update(session.state));
    this.sizes.observe(this.frame);
    this.recolour = () => this.update(session.state);
    darkScheme.addEventListener("change", this.recolour);
  }

  close() {
    this.sizes.disconnect();
    darkScheme.removeEventListener("change", this.recolour);
  }

  update(state) {
    const width = Math.min(560, Math.floor(this.frame.clientWidth));
    if (width < 60) return;
    const count = this.names.length;
    this.cell = Math.max(1, (width - MARGIN) / count);
    const context = sizedContext(this.canvas, width, width);
    context.fillStyle = colour("--soft");
    context.fillRect(MARGIN, MARGIN, this.cell * count, this.cell * count);
    const scale = [0, 1, 2, 3, 4].map((index) => colour(`--heat-${index}`));
    const red = colour("--cut");
    const dot = colour("--card");
    for (const [a, b] of this.session.info.edges) {
      const edge = edgeBetween(state, a, b);
      for (const [row, column] of [[a, b], [b, a]]) {
        const x = MARGIN + this.place.get(column) * this.cell;
        const y = MARGIN + this.place.get(row) * this.cell;
        const size = Math.max(1, this.cell - 0.5);
        context.fillStyle = edge?.cut ? red : scale[heat(edge?.bytes_per_s)];
        context.fillRect(x, y, size, size);
        if (edge?.cut && size > 4) cross(context, x, y, size, dot);
        else if (edge?.loss > 0.005 && size > 4) {
          context.fillStyle = dot;
          context.fillRect(x + size * 0.35, y + size * 0.35, size * 0.3, size * 0.3);
        }
      }
    }
    context.fillStyle = colour("--quiet");
    context.font = "11px system-ui, sans-serif";
    const every = Math.max(1, Math.ceil(28 / this.cell));
    for (let index = 0; index < count; index += every) {
      context.textAlign = "center";
      context.fillText(String(index), MARGIN + (index + 0.5) * this.cell, 12);
      context.textAlign = "right";
      context.fillText(String(index), MARGIN - 4, MARGIN + (index + 0.5) * this.cell + 4);
    }
  }

  pair(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - MARGIN) / this.cell);
    const row = Math.floor((event.clientY - box.top - MARGIN) / this.cell);
    const [a, b] = [this.names[row], this.names[column]];
    const edge = a !== undefined && b !== undefined && this.session.info.edges.some(([x, y]) => (x === a && y === b) || (x === b && y === a));
    return { a, b, edge };
  }

  point(event) {
    const { a, b, edge } = this.pair(event);
    this.canvas.classList.toggle("on-edge", edge);
    if (a !== undefined && b !== undefined) setText(this.readout, edge ? `${a} – ${b}: ${edgeText(edgeBetween(this.session.state, a, b))}` : `${a} – ${b}: no edge`);
  }

  open(event) {
    const { a, b, edge } = this.pair(event);
    if (edge) window.location.hash = link(this.session.info.id, "edge", a, b);
  }
}

function heat(bytes) {
  if (!bytes) return 0;
  return Math.min(4, Math.max(1, Math.floor(Math.log10(bytes)) - 1));
}

function cross(context, x, y, size, ink) {
  context.strokeStyle = ink;
  context.lineWidth = Math.max(1, size * 0.12);
  context.beginPath();
  context.moveTo(x + size * 0.25, y + size * 0.25);
  context.lineTo(x + size * 0.75, y + size * 0.75);
  context.moveTo(x + size * 0.75, y + size * 0.25);
  context.lineTo(x + size * 0.25, y + size * 0.75);
  context.stroke();
}
