// Places of nodes: a circle for rings and dense graphs, else the distances of the graph drawn as distances on the page
// (stress minimised by stochastic gradient descent: Zheng, Pawar and Goodman, 2019).

const PASSES = 40;
const DENSE = 0.6;

/** Name -> `[x, y]` in the unit square, the same for the same graph. */
export function layout(names, edges) {
  const known = edges.filter(([a, b]) => a !== b && names.includes(a) && names.includes(b));
  const around = new Map(names.map((name) => [name, new Set()]));
  for (const [a, b] of known) {
    around.get(a).add(b);
    around.get(b).add(a);
  }
  const degrees = [...around.values()].map((set) => set.size);
  const total = degrees.reduce((a, b) => a + b, 0) / 2;
  const ring = names.length > 2 && degrees.every((degree) => degree === 2);
  if (names.length < 4 || ring || total > (DENSE * names.length * (names.length - 1)) / 2) return unit(circle(ring ? walk(names, around) : names));
  return unit(spread(names, around));
}

/** Names in the order of a walk along the edges, so that a ring becomes a circle whatever its names are. */
function walk(names, around) {
  const order = [];
  const seen = new Set();
  for (const start of names) {
    let name = start;
    while (name !== undefined && !seen.has(name)) {
      seen.add(name);
      order.push(name);
      name = [...around.get(name)].find((next) => !seen.has(next));
    }
  }
  return order;
}

function circle(names) {
  const turn = (2 * Math.PI) / names.length;
  // Two and four nodes stand on the corners of a lying rectangle, which uses the width; others begin at the top.
  const first = names.length === 2 ? Math.PI : names.length === 4 ? (-3 * Math.PI) / 4 : -Math.PI / 2;
  return new Map(names.map((name, index) => [name, [0.5 + 0.5 * Math.cos(first + index * turn), 0.5 + 0.5 * Math.sin(first + index * turn)]]));
}

function distances(names, around) {
  const place = new Map(names.map((name, index) => [name, index]));
  return names.map((start) => {
    const row = new Array(names.length).fill(Infinity);
    row[place.get(start)] = 0;
    const queue = [start];
    for (const name of queue) {
      for (const next of around.get(name)) {
        if (row[place.get(next)] === Infinity) {
          row[place.get(next)] = row[place.get(name)] + 1;
          queue.push(next);
        }
      }
    }
    return row;
  });
}

function spread(names, around) {
  const far = distances(names, around);
  const finite = far.flat().filter((value) => value < Infinity);
  const diameter = Math.max(1, ...finite);
  const random = generator(names.length);
  const at = [...circle(names).values()].map(([x, y]) => [x * diameter + random() * 0.1, y * diameter + random() * 0.1]);
  const pairs = [];
  for (let i = 0; i < names.length; i += 1) for (let j = 0; j < i; j += 1) pairs.push([i, j, far[i][j] === Infinity ? diameter + 1 : far[i][j]]);
  for (let pass = 0; pass < PASSES; pass += 1) {
    const rate = diameter ** 2 * Math.exp((-pass / (PASSES - 1)) * Math.log(diameter ** 2 / 0.02));
    shuffle(pairs, random);
    for (const [i, j, wanted] of pairs) {
      const dx = at[i][0] - at[j][0];
      const dy = at[i][1] - at[j][1];
      const length = Math.hypot(dx, dy) || 1e-6;
      const step = (Math.min(1, rate / wanted ** 2) * (length - wanted)) / (2 * length);
      at[i][0] -= step * dx;
      at[i][1] -= step * dy;
      at[j][0] += step * dx;
      at[j][1] += step * dy;
    }
  }
  return new Map(turned(at).map((point, index) => [names[index], point]));
}

/** Turned so that the widest direction lies along the width. */
function turned(at) {
  const mean = [0, 1].map((k) => at.reduce((sum, point) => sum + point[k], 0) / at.length);
  let xx = 0;
  let yy = 0;
  let xy = 0;
  for (const [x, y] of at) {
    xx += (x - mean[0]) ** 2;
    yy += (y - mean[1]) ** 2;
    xy += (x - mean[0]) * (y - mean[1]);
  }
  const angle = -0.5 * Math.atan2(2 * xy, xx - yy);
  return at.map(([x, y]) => [(x - mean[0]) * Math.cos(angle) - (y - mean[1]) * Math.sin(angle), (x - mean[0]) * Math.sin(angle) + (y - mean[1]) * Math.cos(angle)]);
}

/** The same places, spread over the unit square; what has no extent stands in the middle. */
function unit(places) {
  const at = [...places.values()];
  const low = [0, 1].map((k) => Math.min(...at.map((point) => point[k])));
  const size = [0, 1].map((k) => Math.max(...at.map((point) => point[k])) - low[k]);
  return new Map([...places].map(([name, point]) => [name, [0, 1].map((k) => (size[k] > 1e-6 ? (point[k] - low[k]) / size[k] : 0.5))]));
}

function shuffle(list, random) {
  for (let index = list.length - 1; index > 0; index -= 1) {
    const other = Math.floor(random() * (index + 1));
    [list[index], list[other]] = [list[other], list[index]];
  }
}

/** Mulberry32: the layout of a graph is the same at every visit. */
function generator(seed) {
  let state = seed + 0x6d2b79f5;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
