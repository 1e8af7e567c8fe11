// Addresses within the page: `#/agent/NAME?run=ID`.

/** The parts of the path and the run of the current address. */
export function currentPlace() {
  const [path, search = ""] = window.location.hash.replace(/^#/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(decode);
  return { parts, query: new URLSearchParams(search) };
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

const TOKEN = "token";

/** The token of manual faults: the server prints it in the address that it opens; it is kept for this tab and removed from the address. */
export function controlToken() {
  const given = new URLSearchParams(window.location.search).get(TOKEN);
  if (given) {
    sessionStorage.setItem(TOKEN, given);
    window.history.replaceState(null, "", window.location.pathname + window.location.hash);
  }
  return sessionStorage.getItem(TOKEN);
}
