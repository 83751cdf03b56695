"use strict";

const $ = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const usd = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 4 });

// Puts a text in place only if it is another, so that nothing is read out or drawn twice.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// ---- the admin key, for this tab ----

const KEY = "sluice-admin-key";

function headers() {
  const key = sessionStorage.getItem(KEY);
  return key ? { authorization: `Bearer ${key}` } : {};
}

let asked;

// Opens the sign-in form and gives whether a key was entered. Callers at once share one form.
function askForKey() {
  asked ??= openKeyDialog().finally(() => { asked = undefined; });
  return asked;
}

function openKeyDialog() {
  const dialog = $("key-dialog");
  $("key").value = "";
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const isGiven = dialog.returnValue === "use" && $("key").value !== "";
      if (isGiven) sessionStorage.setItem(KEY, $("key").value);
      $("key").value = "";
      resolve(isGiven);
    }, { once: true });
  });
}

function forgetKey() {
  $("key-refused").hidden = sessionStorage.getItem(KEY) === null;
  sessionStorage.removeItem(KEY);
}

// Asks for the key until one is entered. A button opens a closed form again.
async function signIn() {
  showState("signed out", "closed", "the status page needs the admin key");
  const button = $("sign-in");
  while (!(await askForKey())) {
    button.hidden = false;
    await new Promise((resolve) => { button.addEventListener("click", resolve, { once: true }); });
    button.hidden = true;
  }
}

async function act(name, what) {
  const path = `/admin/targets/${encodeURIComponent(name)}/${what}`;
  try {
    let answer = await fetch(path, { method: "POST", headers: headers() });
    if (answer.status === 401) {
      forgetKey();
      if (await askForKey()) answer = await fetch(path, { method: "POST", headers: headers() });
    }
    const { message } = await answer.json();
    trouble(answer.ok ? "" : `${name}: ${message}`);
  } catch (error) {
    trouble(`${name}: ${error.message}`);
  }
}

function trouble(text) {
  say($("trouble"), text);
  $("trouble").hidden = text === "";
}

// ---- targets ----

const rows = new Map();

function meter() {
  const text = make("span");
  const bar = make("progress", { max: 1 });
  const cell = make("td", { className: "meter" }, text, bar);
  return { cell, text, bar };
}

// `held` is what this replica holds of what is left, where replicas share the quota.
function setMeter({ text, bar }, available, held, limit, label) {
  if (available === null || limit === null) {
    say(text, "not limited");
    bar.hidden = true;
    return;
  }
  const left = Math.max(0, available);
  const own = held === undefined ? "" : `, ${short.format(Math.floor(Math.max(0, held)))} held here`;
  say(text, `${short.format(Math.floor(left))} of ${short.format(limit)}${own}`);
  bar.hidden = false;
  bar.value = Math.min(1, left / limit);
  bar.setAttribute("aria-label", label);
}

function newRow(name) {
  const label = make("span");
  const model = make("small");
  const state = make("span", { className: "pill" });
  const detail = make("small");
  const requests = meter();
  const tokens = meter();
  const number = () => make("td", { className: "number" });
  const [inFlight, waiting, latency] = [number(), number(), number()];
  const reset = make("button", { type: "button", textContent: "Reset" });
  const drain = make("button", { type: "button" });
  reset.setAttribute("aria-label", `Reset the cooldown of ${name}`);
  reset.addEventListener("click", () => act(name, "reset"));
  drain.addEventListener("click", () => act(name, drain.dataset.act));
  const head = make("th", { scope: "row" }, label, model);
  const row = make("tr", {}, head, make("td", {}, state, detail), requests.cell, tokens.cell,
    inFlight, waiting, latency, make("td", { className: "buttons" }, reset, " ", drain));
  row.dataset.target = name;
  return { row, label, model, state, detail, requests, tokens, inFlight, waiting, latency, reset, drain };
}

const STATES = { available: "available", probing: "probing", cooling: "cooling", drained: "drained" };

function showTarget(parts, target) {
  const { quota } = target;
  say(parts.label, target.name);
  say(parts.model, `${target.model}, ${target.region}`);
  const seconds = target.cooldown_remaining;
  const state = STATES[target.state] ?? target.state;
  say(parts.state, seconds === undefined ? state : `${state} ${Math.ceil(seconds)} s`);
  parts.state.className = `pill ${target.state}`;
  const throttles = target.consecutive_throttles;
  const details = [];
  if (throttles > 0) details.push(`${throttles} ${throttles === 1 ? "throttle" : "throttles"} in a row`);
  const side = target.count_tokens;
  if (side && target.state !== "drained") {
    const rest = side.cooldown_remaining;
    details.push(`CountTokens: ${STATES[side.state] ?? side.state}${rest === undefined ? "" : ` ${Math.ceil(rest)} s`}`);
  }
  for (const { operation, is_confirmed, status, error, message } of target.denied ?? []) {
    details.push(`${is_confirmed ? "denies" : "has denied a request for"} ${operation}: ${status} ${error}, ${message}`);
  }
  say(parts.detail, details.join("; "));
  setMeter(parts.requests, quota.requests_available, quota.requests_held, quota.learned_rpm ?? quota.rpm, `requests left of ${target.name}`);
  setMeter(parts.tokens, quota.tokens_available, quota.tokens_held, quota.learned_tpm ?? quota.tpm, `tokens left of ${target.name}`);
  say(parts.inFlight, count.format(quota.in_flight));
  say(parts.waiting, count.format(target.waiters));
  say(parts.latency, `${count.format(Math.round(target.latency_ms))} ms`);
  const isDrained = target.state === "drained";
  say(parts.drain, isDrained ? "Resume" : "Drain");
  parts.drain.dataset.act = isDrained ? "resume" : "drain";
  parts.drain.setAttribute("aria-label", isDrained ? `Put ${target.name} back into traffic` : `Take ${target.name} out of traffic`);
  parts.row.dataset.text = `${target.name} ${target.display_name} ${target.model} ${target.region} ${state}`.toLowerCase();
}

function showTargets(targets) {
  const seen = new Set();
  for (const target of targets) {
    seen.add(target.name);
    if (!rows.has(target.name)) {
      const parts = newRow(target.name);
      rows.set(target.name, parts);
      $("targets").append(parts.row);
    }
    showTarget(rows.get(target.name), target);
  }
  for (const [name, parts] of rows) {
    if (seen.has(name)) continue;
    parts.row.remove();
    rows.delete(name);
  }
  const out = targets.filter((target) => target.state !== "available").length;
  say($("summary"), out === 0 ? `all ${targets.length} available` : `${out} of ${targets.length} not available`);
  filter();
}

function filter() {
  const wanted = $("filter").value.trim().toLowerCase();
  for (const { row } of rows.values()) row.hidden = !row.dataset.text.includes(wanted);
}

// ---- plots ----

const SVG = "http://www.w3.org/2000/svg";
const PLOTS = [
  { title: "Requests", key: "requests" },
  { title: "Not answered", key: "failed", className: "worse" },
  { title: "Fallbacks", key: "fallbacks" },
  { title: "Throttles of targets", key: "throttles", className: "worse" },
];

const plots = PLOTS.map(({ title, key, className }) => {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 360 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const ground = document.createElementNS(SVG, "line");
  for (const [name, value] of Object.entries({ x1: 0, x2: 360, y1: 99, y2: 99 })) ground.setAttribute(name, value);
  const path = document.createElementNS(SVG, "path");
  if (className) path.setAttribute("class", className);
  svg.append(ground, path);
  const most = make("span");
  $("plots").append(make("figure", {}, make("figcaption", {}, make("span", { textContent: title }), most), svg));
  return { title, key, svg, path, most };
});

// A point for each minute, so that single requests don't look like a storm.
function perMinute({ seconds, steps }, key) {
  const size = Math.max(1, Math.round(60 / seconds));
  const points = [];
  for (let end = steps.length; end > 0; end -= size) {
    const part = steps.slice(Math.max(0, end - size), end);
    points.unshift(part.reduce((sum, step) => sum + step[key], 0));
  }
  return points;
}

function showHistory(history) {
  for (const { title, key, svg, path, most } of plots) {
    const points = perMinute(history, key);
    const top = Math.max(1, ...points);
    const first = 60 - points.length;
    const at = (value, index) => `${((first + index + 0.5) * 6).toFixed(1)} ${(97 - (value / top) * 92).toFixed(1)}`;
    path.setAttribute("d", points.map((value, index) => (index === 0 ? "M" : "L") + at(value, index)).join(""));
    const text = points.length === 0 ? "nothing yet" : `at most ${count.format(Math.max(...points))} a minute`;
    say(most, text);
    svg.setAttribute("aria-label", `${title}: ${text}`);
  }
  const last = history.steps.slice(-6);
  const sum = (key) => last.reduce((total, step) => total + step[key], 0);
  const [requests, failed] = [sum("requests"), sum("failed")];
  say($("rate"), count.format(requests));
  say($("answered"), requests === 0 ? "–" : `${(100 * (1 - failed / requests)).toFixed(1)} %`);
  say($("fallback-rate"), count.format(sum("fallbacks")));
  say($("throttle-rate"), count.format(sum("throttles")));
}

// ---- clients and failures ----

function fill(body, lines, width) {
  const text = JSON.stringify(lines);
  if (body.dataset.text === text) return;
  body.dataset.text = text;
  const empty = make("tr", {}, make("td", { colSpan: width, className: "empty", textContent: "none" }));
  body.replaceChildren(...(lines.length === 0 ? [empty] : lines.map((cells) => make("tr", {}, ...cells.map(
    ([content, className = ""]) => make("td", { textContent: content, className }))))));
}

function showClients(clients) {
  const number = (value) => [count.format(value), "number"];
  fill($("clients"), clients.map((client) => [
    [client.name], number(client.requests), number(client.failed), number(client.input), number(client.output),
    number(client.cache_read), number(client.cache_write), [usd.format(client.cost_usd), "number"],
  ]), 8);
  say($("cost"), `${usd.format(clients.reduce((sum, client) => sum + client.cost_usd, 0))} USD`);
}

function showFailures(failures) {
  fill($("failures"), failures.map((line) => [
    [line.time.slice(0, 19).replace("T", " ")], [`${line.status} ${line.outcome}`], [line.error ?? ""], [line.client],
    [line.operation], [line.requested_model ?? ""],
    [line.attempts.map((attempt) => `${attempt.target} ${attempt.outcome}`).join(", ")], [line.request_id],
  ]), 8);
}

// ---- the state ----

function show(status) {
  const isReady = status.state === "ready";
  const hours = (status.now / 1000 - status.started) / 3600;
  const up = hours < 1 ? `${Math.floor(hours * 60)} min` : hours < 48 ? `${hours.toFixed(1)} h` : `${Math.floor(hours / 24)} days`;
  const className = ["ready", "starting", "draining"].includes(status.state) ? status.state : "not-ready";
  showState(status.state, className, `version ${status.version}, up for ${up}`);
  document.title = isReady ? "Sluice" : `Sluice: ${status.state}`;
  say($("waiting"), `${count.format(status.queue.waiting)} of ${short.format(status.queue.max_waiting)}`);
  say($("in-flight"), `${count.format(status.in_flight.requests)} of ${short.format(status.in_flight.max_requests)}`);
  showTargets(status.targets);
  showClients(status.clients);
  showFailures(status.failures);
  if (status.history) showHistory(status.history);
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
      else showState("connection lost", "lost", `what stands here is old: ${error.message}`);
    }
    await pause(1000);
  }
}

$("filter").addEventListener("input", filter);
run();
