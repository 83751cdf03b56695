
// ---- what needs attention: the first thing on the page ----

// From so many lines on, the entries of one kind share a line, so that every kind is seen.
const MAX_LINES = 12;

// Most entries of one kind with a line each, and most names in a line that many share.
const MAX_OF_KIND = 3;
const MAX_NAMES = 5;

// From these shares on, the queue and what is in flight are nearly full, and a budget is nearly spent.
const NEARLY_FULL = 0.8;
const NEARLY_SPENT = 0.8;

// A share of failed requests in the last minute that needs attention, if there are enough requests.
const FAILING = 0.01;
const ENOUGH = 20;

const DAY = 86400 * 1000;
const RETIRES_SOON = 90 * DAY;

// One entry: `isBad` or a warning, what it is about, what is wrong, and facts with their names. Entries of
// one `kind` can share a line: it has the noun for their subjects, and what is wrong with all of them.
const entry = (isBad, subject, text, facts = [], kind = undefined) => ({ isBad, subject, text, facts: facts.filter(([, value]) => value), kind });

const kindOf = (noun, text) => ({ noun, text, key: `${noun} ${text}` });

// The state of a target in words, for people who see it for the first time.
const STATES = {
  available: "It takes requests.",
  probing: "Its cooldown has ended. One request tests it; if that is answered, it is available again.",
  cooling: "It was throttled or failed, and gets no requests until its cooldown ends.",
  drained: "An operator took it out of traffic. It gets no requests until it is put back.",
};

function outFacts(out) {
  if (!isObject(out)) return [];
  return [
    ["since", out.since ? clock(out.since) : ""],
    ["tried again", out.until ? clock(out.until) : ""],
    ["request", textOf(out.request_id)],
  ];
}

function targetEntries(targets, now) {
  const found = [];
  for (const target of targets) {
    const name = textOf(target.name);
    const out = isObject(target.out) ? target.out : {};
    const why = textOf(out.reason) === target.state ? "" : textOf(out.reason);
    const reason = [why, textOf(out.message)].filter(Boolean).join(": ");
    if (target.state !== "available" && textOf(target.state) !== "") {
      const left = isNumber(target.cooldown_remaining) ? ` for ${rest(target.cooldown_remaining)}` : "";
      const text = `${target.state}${target.state === "cooling" ? left : ""}${reason ? `: ${reason}` : ""}`;
      const kind = kindOf("target", Object.hasOwn(STATES, target.state) ? target.state : "not available");
      found.push(entry(target.state === "cooling", name, text, outFacts(out), kind));
    }
    for (const denied of objects(target.denied)) {
      if (denied.is_confirmed === false) continue;
      const text = `denies ${textOf(denied.operation)}: ${textOf(denied.error)}: ${textOf(denied.message)}`;
      const facts = [["since", denied.since ? clock(denied.since) : ""], ["request", textOf(denied.request_id)]];
      found.push(entry(true, name, text, facts, kindOf("denial", "by targets")));
    }
    const retires = retirement(target, now);
    if (retires) found.push(entry(retires.isBad, name, retires.text, [], kindOf("target", RETIREMENTS[retires.isBad ? "lost" : retires.isOver ? "replaced" : "soon"])));
  }
  return found;
}

const RETIREMENTS = {
  lost: "whose model is retired without a successor",
  replaced: "whose model is retired and replaced",
  soon: "whose model retires soon",
};

// Whether the model that the config names for a target is retired, or will be soon.
function retirement(target, now) {
  const date = typeof target.retires_on === "string" ? moment(target.retires_on) : undefined;
  const day = textOf(target.retires_on);
  const model = textOf(target.configured_model) || textOf(target.model);
  const successor = textOf(target.replaced_by);
  const then = successor ? `${successor} answers in its place` : "Bedrock refuses requests for it";
  if (target.retired === true || (date && date.getTime() <= now)) {
    return { isOver: true, isBad: successor === "", text: `${model} is retired${date ? ` since ${day}` : ""}; ${then}` };
  }
  if (!date || date.getTime() - now > RETIRES_SOON) return undefined;
  const days = Math.ceil((date.getTime() - now) / DAY);
  return { isOver: false, isBad: false, text: `${model} retires on ${day}, in ${plural(days, "day")}; then ${then}` };
}

function budgetEntries(budgets) {
  return budgets.filter((budget) => numberOf(budget.used) >= NEARLY_SPENT).map((budget) => entry(
    budget.used >= 1,
    textOf(budget.client),
    `${textOf(budget.period)} budget ${budget.used >= 1 ? "used up" : `${percent(budget.used)} used`}: ${usd(budget.spent_usd)} of ${usd(budget.limit_usd)} USD`,
    [["resets", budget.resets ? clock(budget.resets) : ""]],
    budget.used >= 1 ? USED_UP : NEARLY_USED_UP,
  ));
}

const USED_UP = kindOf("budget", "used up");
const NEARLY_USED_UP = kindOf("budget", "nearly used up");

// How many entries of a kind the gateway has left out of its state.
function leftOut(status) {
  const budgets = isObject(status.budgets_left_out) ? status.budgets_left_out : {};
  return new Map([[USED_UP.key, numberOf(budgets.used_up)], [NEARLY_USED_UP.key, numberOf(budgets.nearly_used_up)]]);
}

// The entries of which more than `most` are of one kind, or some were left out, in one line a kind.
function merged(found, most, missing) {
  const kinds = new Map();
  for (const it of found) {
    const key = it.kind?.key;
    if (key !== undefined) kinds.set(key, [...(kinds.get(key) ?? []), it]);
  }
  const isMany = (key) => key !== undefined && (kinds.get(key).length > most || missing.get(key) > 0);
  const lines = [];
  for (const it of found) {
    const key = it.kind?.key;
    const all = kinds.get(key);
    if (!isMany(key)) lines.push(it);
    else if (all[0] === it) lines.push(mergedEntry(all, missing.get(key) ?? 0));
  }
  return lines;
}

function mergedEntry(all, missing) {
  const { noun, text } = all[0].kind;
  const total = all.length + missing;
  const names = [...new Set(all.map((it) => it.subject))].slice(0, MAX_NAMES);
  const others = total - all.filter((it) => names.includes(it.subject)).length;
  return entry(all.some((it) => it.isBad), plural(total, noun), `${text}: ${names.join(", ")}${others > 0 ? ` and ${count(others)} more` : ""}`);
}

// All entries for this state; `minute` has the counts of the last minute, if they are known.
function attention(status, minute) {
  const found = [];
  const state = textOf(status.state);
  if (state !== "" && state !== "ready") found.push(entry(state !== "starting" && state !== "draining", "The gateway", `takes no traffic: ${state}`));
  if (isObject(status.config?.refused)) {
    const { at, message } = status.config.refused;
    found.push(entry(true, "The config", `was not reloaded, the previous one stays in use: ${textOf(message)}`, [["at", clock(at)]]));
  }
  for (const dependency of objects(status.dependencies)) {
    if (dependency.up !== false) continue;
    const message = textOf(dependency.message);
    found.push(entry(true, textOf(dependency.name), `is down${message ? `: ${message}` : ""}`, [], kindOf("dependency", "down")));
  }
  if (minute && minute.requests >= ENOUGH && minute.failed / minute.requests >= FAILING) {
    found.push(entry(true, "Requests", `${count(minute.failed)} of ${count(minute.requests)} failed in the last minute`));
  }
  const { waiting, max_waiting: maxWaiting, oldest_wait_ms: oldest } = isObject(status.queue) ? status.queue : {};
  if (maxWaiting > 0 && waiting >= NEARLY_FULL * maxWaiting) {
    found.push(entry(waiting >= maxWaiting, "The queue", `is ${waiting >= maxWaiting ? "full" : "nearly full"}: ${count(waiting)} of ${count(maxWaiting)} wait`, [["oldest waits for", isNumber(oldest) ? length(oldest) : ""]]));
  }
  const { requests, max_requests: maxRequests } = isObject(status.in_flight) ? status.in_flight : {};
  if (maxRequests > 0 && requests >= NEARLY_FULL * maxRequests) {
    found.push(entry(requests >= maxRequests, "The gateway", `has ${count(requests)} of at most ${count(maxRequests)} requests in flight`));
  }
  found.push(...targetEntries(objects(status.targets), numberOf(status.now) || Date.now()));
  found.push(...budgetEntries(objects(status.budgets)));
  found.sort((a, b) => b.isBad - a.isBad);
  const missing = leftOut(status);
  const lines = merged(found, MAX_OF_KIND, missing);
  return lines.length <= MAX_LINES ? lines : merged(found, 1, missing);
}

// Why the page has no data of now, since when, and what the browser says of it.
function silenceEntry({ since, why, error }) {
  const text = `${since === undefined ? "yet" : `since ${clock(since / 1000)}`}: ${why}`;
  return entry(true, "No data", `${text}.${since === undefined ? "" : " The rest of this page is the last known state."}`, [["the browser says", error]]);
}

// `silence` says why there are no data of now; undefined while the gateway tells its state.
function showAttention(status, minute, silence) {
  const found = [...(silence ? [silenceEntry(silence)] : []), ...attention(status, minute)];
  $("calm").hidden = found.length > 0;
  $("attention").hidden = found.length === 0;
  $("attention-box").className = found.length === 0 ? "calm" : found.some((it) => it.isBad) ? "is-bad" : "is-warn";
  say($("attention-count"), found.length === 0 ? "" : plural(found.length, "thing"));
  fill($("attention"), found, showEntry);
}

function showEntry(it) {
  const mark = make("span", { className: `mark ${it.isBad ? "bad" : "warn"}`, textContent: it.isBad ? "●" : "▲" });
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", it.isBad ? "problem:" : "warning:");
  const text = make("p", {}, make("strong", { textContent: it.subject }), ` ${it.text}`);
  const facts = it.facts.map(([name, value]) => make("span", {}, `${name} `, ...(name === "request" ? requestId(value) : [value])));
  return make("li", {}, mark, make("div", {}, text, ...(facts.length > 0 ? [make("p", { className: "facts" }, ...facts)] : [])));
}
