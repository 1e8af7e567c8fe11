// The page: one run session, one view at a time, chosen by the address after `#`.
import { api } from "./core/api.js";
import { h } from "./core/dom.js";
import { controlToken, currentPlace } from "./core/links.js";
import { RunSession } from "./core/run_session.js";
import { Masthead } from "./parts/masthead.js";
import { Transport } from "./parts/transport.js";
import { AgentView } from "./views/agent_view.js";
import { CompareView } from "./views/compare_view.js";
import { EdgeView } from "./views/edge_view.js";
import { MessagesView } from "./views/messages_view.js";
import { OverviewView } from "./views/overview_view.js";
import { RunListView } from "./views/run_list_view.js";

const VIEWS = { "": OverviewView, agent: AgentView, edge: EdgeView, messages: MessagesView, compare: CompareView, runs: RunListView };
const RETRY = 1_000;

const content = document.getElementById("content");
const masthead = new Masthead(document.getElementById("masthead"));
const transport = new Transport(document.getElementById("transport"));
let session = null;
let view = null;
let shown = null;
let turn = 0;

async function route() {
  const mine = (turn += 1);
  const { parts, query } = currentPlace();
  const name = parts[0] ?? "";
  try {
    await openRun(query.get("run"), mine);
  } catch (error) {
    if (mine !== turn) return;
    content.replaceChildren(h("p", { class: "note", role: "status" }, `The page server does not answer (${error.message}). Next attempt in a second.`));
    setTimeout(() => mine === turn && route(), RETRY);
    return;
  }
  if (mine !== turn) return;
  view?.close?.();
  view = null;
  const View = VIEWS[name];
  masthead.show(session, name);
  transport.show(View && View.replays !== false ? session : null);
  if (!View) content.replaceChildren(h("p", { class: "note" }, `There is no page ${parts.join("/")}.`));
  else if (!session && View.needsRun !== false) content.replaceChildren(h("p", { class: "note", role: "status" }, "No run here yet. Start one with: orchestrate up configs/4agents_ring.yaml"));
  else {
    view = new View({ session, parts: parts.slice(1), query });
    content.replaceChildren(view.element);
    update();
  }
  const place = window.location.hash.split("?")[0];
  if (shown !== null && shown !== place) {
    window.scrollTo(0, 0);
    content.focus({ preventScroll: true });
  }
  shown = place;
  document.title = [view?.title, session?.info.name, "Murmuration"].filter(Boolean).join(" · ");
}

/** The run of the address, or else the newest one. A session that is open for it stays. */
async function openRun(wanted, mine) {
  if (session && (wanted === null || wanted === session.info.id)) return;
  let id = wanted;
  if (id === null) id = (await api.runs())[0]?.id ?? null;
  const info = id === null ? null : await api.run(id);
  if (mine !== turn) return;
  session?.close();
  session = info && new RunSession(info);
  if (!session) return;
  for (const event of ["state", "mode", "connection", "span"]) session.addEventListener(event, schedule);
  session.start();
}

let pending = false;
/** At most one update for each frame of the screen, however many messages arrive. */
function schedule() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    update();
  });
}

function update() {
  if (!session) return;
  masthead.update(session);
  transport.update(session);
  view?.update?.(session.state, session);
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  content.focus();
});
window.addEventListener("hashchange", route);
controlToken();
route();
