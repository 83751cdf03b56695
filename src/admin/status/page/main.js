
// ---- the state of the gateway, shown as it comes ----

// The newest state, when it came, and the newest history: an event has it only after a new step.
let lastStatus;
let lastData;
let lastHistory;

// Events come once a second. After so long without one, the gateway does not answer.
const SILENCE = 10 * 1000;

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
  lastStatus = status;
  lastData = Date.now();
  markAge(undefined);
  const now = numberOf(status.now) || Date.now();
  const minute = lastMinute(lastHistory);
  part("state", () => showHead(status, now));
  part("what needs attention", () => showAttention(status, minute));
  part("figures", () => showFigures(status, minute, lastHistory));
  part("targets", () => showTargets(objects(status.targets)));
  part("fallbacks", () => showFallbacks(objects(status.fallbacks)));
  part("clients", () => showClients(objects(status.clients)));
  part("APIs", () => showApis(objects(status.api_usage)));
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

// Says that there are no data of now, and why; what is on the page stays, with its age.
function showSilence(state, className, why, error = "") {
  showState(state, className, why);
  document.title = `Sluice: ${state}`;
  markAge(lastData);
  part("what needs attention", () => showAttention(lastStatus ?? {}, lastMinute(lastHistory), { since: lastData, why, error }));
}

// Marks every figure as one of this moment; undefined if all are of now.
function markAge(since) {
  document.body.classList.toggle("is-old", since !== undefined);
  for (const heading of document.querySelectorAll("main h2:not(#attention-title)")) {
    if (since === undefined) delete heading.dataset.age;
    else heading.dataset.age = ` as of ${clock(since / 1000)}`;
  }
}

// The gateway refuses this page whatever key it sends.
class AccessDenied extends Error {}

// Something answers, but not with the state.
class NoState extends Error {}

async function follow() {
  const silence = new AbortController();
  let timer;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new Error(`no event came for ${SILENCE / 1000} s`)), SILENCE);
  };
  wait();
  try {
    return await read(silence.signal, wait);
  } finally {
    clearTimeout(timer);
  }
}

// Shows the events of one stream until it ends, and calls `heard` for each piece of it. Returns whether
// the admin key is missing.
async function read(signal, heard) {
  const answer = await fetch("/admin/events", { headers: headers(), cache: "no-store", signal });
  if (answer.status === 401) return true;
  if (answer.status === 403) throw new AccessDenied(await messageOf(answer));
  if (!answer.ok) throw new NoState(await messageOf(answer));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return false;
    heard();
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
      if (await follow()) {
        forgetKey();
        await signIn();
      }
    } catch (error) {
      if (error instanceof AccessDenied) showSilence("closed", "closed", error.message);
      else if (error instanceof NoState) showSilence("connection lost", "lost", error.message);
      else showSilence("connection lost", "lost", "the gateway does not answer", error.message);
    }
    await pause(1000);
  }
}

$("filter").addEventListener("input", filter);
run();
