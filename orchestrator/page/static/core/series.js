// Time series of several agents on one grid, and their quartiles.

/** `points` equally spaced values from `low` to `high`. */
export function grid(low, high, points) {
  if (!(high > low)) return [low];
  return Array.from({ length: points }, (_, index) => low + ((high - low) * index) / (points - 1));
}

/**
 * Values of one series on a grid, by linear interpolation between its points. null before the first and after the last point, and in gaps
 * longer than ten usual intervals: an agent that was away has no value, and none is made up.
 */
export function resample(x, v, on) {
  const result = new Array(on.length).fill(null);
  if (!x.length) return result;
  const widest = gapLimit(x);
  const cell = on.length > 1 ? on[1] - on[0] : 0;
  let index = 0;
  for (let position = 0; position < on.length; position += 1) {
    const wanted = on[position];
    while (index + 1 < x.length && x[index + 1] <= wanted) index += 1;
    if (wanted < x[0] || wanted > x[x.length - 1]) {
      // A point between two cells of the grid belongs to the nearest one.
      if (Math.abs(wanted - x[0]) <= cell / 2) result[position] = v[0];
      else if (Math.abs(wanted - x[x.length - 1]) <= cell / 2) result[position] = v[x.length - 1];
      continue;
    }
    if (index + 1 === x.length || x[index] === wanted) {
      result[position] = v[index];
      continue;
    }
    const width = x[index + 1] - x[index];
    if (width > Math.max(widest, 2 * cell)) continue;
    const share = (wanted - x[index]) / width;
    result[position] = v[index] + (v[index + 1] - v[index]) * share;
  }
  return result;
}

/** Points whose steps rise: where a node went on from an earlier step (a checkpoint), what it had done after that step is left out. */
export function rising(step, v) {
  const kept = [];
  let next = Infinity;
  for (let index = step.length - 1; index >= 0; index -= 1) {
    if (step[index] >= next) continue;
    kept.push(index);
    next = step[index];
  }
  kept.reverse();
  return [kept.map((index) => step[index]), kept.map((index) => v[index])];
}

function gapLimit(x) {
  if (x.length < 3) return Infinity;
  const widths = [];
  for (let index = 1; index < x.length; index += 1) widths.push(x[index] - x[index - 1]);
  widths.sort((a, b) => a - b);
  return 10 * widths[Math.floor(widths.length / 2)];
}

/** The mean of each value and its neighbours up to `half` places away; null stays null. */
export function movingMean(column, half) {
  const sums = [0];
  const counts = [0];
  for (const value of column) {
    sums.push(sums.at(-1) + (value ?? 0));
    counts.push(counts.at(-1) + (value === null ? 0 : 1));
  }
  return column.map((value, place) => {
    const from = Math.max(0, place - half);
    const to = Math.min(column.length, place + half + 1);
    return value === null ? null : (sums[to] - sums[from]) / (counts[to] - counts[from]);
  });
}

/** The quantile `share` of sorted numbers, by linear interpolation. */
export function quantile(sorted, share) {
  const place = (sorted.length - 1) * share;
  const low = Math.floor(place);
  const high = Math.ceil(place);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
}

/** Lower quartile, median and upper quartile over columns, at each place; null where no column has a value. */
export function quartiles(columns) {
  const length = columns[0]?.length ?? 0;
  const result = { low: new Array(length).fill(null), median: new Array(length).fill(null), high: new Array(length).fill(null) };
  for (let place = 0; place < length; place += 1) {
    const values = columns.map((column) => column[place]).filter((value) => value !== null).sort((a, b) => a - b);
    if (!values.length) continue;
    result.low[place] = quantile(values, 0.25);
    result.median[place] = quantile(values, 0.5);
    result.high[place] = quantile(values, 0.75);
  }
  return result;
}

/** The step at time `t`, from the series with most points: marks of time get a place on an axis of steps. */
export function stepAt(series, t) {
  const longest = series.reduce((best, one) => (one.t.length > (best?.t.length ?? 0) ? one : best), null);
  if (!longest || !longest.t.length || t === null) return null;
  const { t: times, step } = longest;
  let index = times.findIndex((time) => time >= t);
  if (index < 0) index = times.length - 1;
  if (index === 0) return step[0];
  const width = times[index] - times[index - 1];
  const share = width > 0 ? Math.min(1, (t - times[index - 1]) / width) : 1;
  return step[index - 1] + (step[index] - step[index - 1]) * share;
}
