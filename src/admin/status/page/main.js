
// ---- the state of the gateway, shown as it comes ----

// The newest history: an event has it only after a new step.
let lastHistory;

// A part that can't be shown says so, and the others are shown.
function part(name, show) {
  try {
    show();
    broken.delete(name);
  } catch (error) {
    broken.set(name, error.message);
  }
}

const broken = new Map();

function show(status) {
  if (!isObject(status)) return;
  if (isObject(status.history)) lastHistory = status.history;
  const now = numberOf(status.now) || Date.now();
  const minute = lastMinute(lastHistory);
  part("state", () => showHead(status, now));
  part("what needs attention", () => showAttention(status, minute));
  part("figures", () => showFigures(status, minute, lastHistory));
  part("targets", () => showTargets(objects(status.targets)));
  part("fallbacks", () => showFallbacks(objects(status.fallbacks)));
  part("clients", () => showClients(objects(status.clients)));
  part("models", () => showModels(objects(status.model_usage)));
  part("failures", () => showFailures(objects(status.failures), status.failed_outcomes));
  if (isObject(status.history)) part("the last hour", () => showHistory(status.history, now));
  const parts = [...broken].map(([name, why]) => `${name} (${why})`);
  say($("broken"), parts.length === 0 ? "" : `These parts of the page can't be shown: ${parts.join(", ")}`);
  $("broken").hidden = parts.length === 0;
}

function showHead(status, now) {
  const state = textOf(status.state) || "unknown";
  const className = ["ready", "starting", "draining"].includes(state) ? state : "not-ready";
  const about = [`version ${textOf(status.version) || "unknown"}`];
  if (isNumber(status.started)) about.push(`up for ${length(Math.max(0, now - status.started * 1000))}`);
  if (status.replicas > 0) about.push(plural(status.replicas, "replica"));
  showState(state, className, about.join(", "));
  document.title = state === "ready" ? "Sluice" : `Sluice: ${state}`;
}

function showState(text, className, about) {
  say($("state"), text);
  $("state").className = `pill ${className}`;
  say($("about"), about);
}

// The gateway refuses this page whatever key it sends.
class AccessDenied extends Error {}

async function follow() {
  const answer = await fetch("/admin/events", { headers: headers(), cache: "no-store" });
  if (answer.status === 401) {
    forgetKey();
    await signIn();
    return;
  }
  if (answer.status === 403) throw new AccessDenied((await answer.json()).message);
  if (!answer.ok) throw new Error((await answer.json()).message);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    const last = events.at(-1);
    // Only the newest counts, but no history may be missed.
    for (const event of events) {
      const status = JSON.parse(event.slice(event.indexOf("data: ") + 6));
      if (event === last || status.history) show(status);
    }
  }
}

async function run() {
  for (;;) {
    try {
      await follow();
    } catch (error) {
      if (error instanceof AccessDenied) showState("closed", "closed", error.message);
      else showState("connection lost", "lost", `this page shows the last known state: ${error.message}`);
    }
    await pause(1000);
  }
}

$("filter").addEventListener("input", filter);
run();
