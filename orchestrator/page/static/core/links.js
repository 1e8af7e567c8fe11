// Addresses within the page: `#/agent/NAME?run=ID`.

/** The parts of the path and the run of the current address. */
export function currentPlace() {
  const [path, search = ""] = window.location.hash.replace(/^#/, "").split("?");
  const query = new URLSearchParams(search);
  // `orchestrate dash RUN` prints an address with the run before the `#`.
  const opened = new URLSearchParams(window.location.search).get("run");
  if (opened && !query.has("run")) query.set("run", opened);
  return { parts: path.split("/").filter(Boolean).map(decode), query };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function link(run, ...parts) {
  const path = parts.map(encodeURIComponent).join("/");
  return `#/${path}${run ? `?run=${encodeURIComponent(run)}` : ""}`;
}

const CONTROL = "control";

/** The token of manual faults, empty where none is known. It comes in the address that the server prints (`#/?control=TOKEN`) or from the
 * form; it is kept for this tab and removed from the address. */
export function controlToken() {
  const { parts, query } = currentPlace();
  const given = query.get(CONTROL);
  if (given) {
    rememberToken(given);
    window.history.replaceState(null, "", link(query.get("run"), ...parts));
  }
  return sessionStorage.getItem(CONTROL) ?? "";
}

export function rememberToken(token) {
  sessionStorage.setItem(CONTROL, token);
}
