// Numbers and times as text.

const UNKNOWN = "–";

/** 0.713, 12.4, 1 204, 3.1e-4. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e7) return value.toExponential(1);
  if (size >= 1000) return grouped(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

/** Whole numbers with thin spaces between thousands. */
export function grouped(value) {
  if (value === null || value === undefined) return UNKNOWN;
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

export function percent(share) {
  if (share === null || share === undefined) return UNKNOWN;
  const value = share * 100;
  return `${value > 0 && value < 10 ? Number(value.toFixed(1)) : Math.round(value)}\u202f%`;
}

export function bytes(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function rate(value) {
  return value === null || value === undefined ? UNKNOWN : `${bytes(value)}/s`;
}

export function milliseconds(value) {
  return value === null || value === undefined ? UNKNOWN : `${Number(value.toPrecision(value < 10 ? 2 : 3))} ms`;
}

/** Seconds of a run: 4.2 s, 2:31, 1:02:05. */
export function time(seconds, digits = 0) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return UNKNOWN;
  const sign = seconds < 0 ? "-" : "";
  const rest = Math.abs(seconds);
  if (digits === 0 && rest < 9.95 && rest !== Math.round(rest)) return `${sign}${rest.toFixed(1)} s`;
  const total = digits ? rest : Math.round(rest);
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor((total % 3600) / 60);
  const last = (total % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${sign}${hours}:${String(minutes).padStart(2, "0")}:${last}` : `${sign}${minutes}:${last}`;
}

/** Date and time of a start, in the reader's zone: an ISO text or seconds since 1970. */
export function moment(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const date = new Date(typeof value === "number" ? value * 1000 : value);
  return Number.isNaN(date.getTime()) ? String(value) : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
