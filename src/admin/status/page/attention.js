
// ---- what needs attention: the first thing on the page ----

// Most entries; the rest is counted.
const MAX_ENTRIES = 12;

// From these shares on, the queue and what is in flight are nearly full, and a budget is nearly spent.
const NEARLY_FULL = 0.8;
const NEARLY_SPENT = 0.8;

// A share of failed requests in the last minute that needs attention, if there are enough requests.
const FAILING = 0.01;
const ENOUGH = 20;

const DAY = 86400 * 1000;
const RETIRES_SOON = 90 * DAY;

// One entry: `isBad` or a warning, what it is about, what is wrong, and facts with their names.
const entry = (isBad, subject, text, facts = []) => ({ isBad, subject, text, facts: facts.filter(([, value]) => value) });

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
      const rest = isNumber(target.cooldown_remaining) ? ` for ${Math.ceil(target.cooldown_remaining)} s` : "";
      const text = `${target.state}${target.state === "cooling" ? rest : ""}${reason ? `: ${reason}` : ""}`;
      found.push(entry(target.state === "cooling", name, text, outFacts(out)));
    }
    for (const denied of objects(target.denied)) {
      if (denied.is_confirmed === false) continue;
      const text = `denies ${textOf(denied.operation)}: ${textOf(denied.error)}: ${textOf(denied.message)}`;
      found.push(entry(true, name, text, [["since", denied.since ? clock(denied.since) : ""], ["request", textOf(denied.request_id)]]));
    }
    const retires = retirement(target, now);
    if (retires) found.push(entry(retires.isOver, name, retires.text));
  }
  return found;
}

// Whether the model that the config names for a target is retired, or will be soon.
function retirement(target, now) {
  const date = typeof target.retires_on === "string" ? moment(target.retires_on) : undefined;
  const day = textOf(target.retires_on);
  const model = textOf(target.configured_model) || textOf(target.model);
  const successor = textOf(target.replaced_by);
  const then = successor ? `${successor} answers in its place` : "Bedrock refuses requests for it";
  if (target.retired === true || (date && date.getTime() <= now)) {
    return { isOver: successor === "", text: `${model} is retired${date ? ` since ${day}` : ""}; ${then}` };
  }
  if (!date || date.getTime() - now > RETIRES_SOON) return undefined;
  const days = Math.ceil((date.getTime() - now) / DAY);
  return { isOver: false, text: `${model} retires on ${day}, in ${plural(days, "day")}; then ${then}` };
}

function budgetEntries(budgets) {
  return budgets.filter((budget) => numberOf(budget.used) >= NEARLY_SPENT).map((budget) => entry(
    budget.used >= 1,
    textOf(budget.client),
    `${textOf(budget.period)} budget ${budget.used >= 1 ? "used up" : `${percent(budget.used)} used`}: ${usd(budget.spent_usd)} of ${usd(budget.limit_usd)} USD`,
    [["resets", budget.resets ? clock(budget.resets) : ""]],
  ));
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
    found.push(entry(true, textOf(dependency.name), `is down${message ? `: ${message}` : ""}`));
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
  return found.sort((a, b) => b.isBad - a.isBad);
}

function showAttention(status, minute) {
  const found = attention(status, minute);
  const shown = found.slice(0, MAX_ENTRIES);
  if (found.length > MAX_ENTRIES) shown.push({ more: found.length - MAX_ENTRIES });
  $("calm").hidden = found.length > 0;
  $("attention").hidden = found.length === 0;
  $("attention-box").className = found.length === 0 ? "calm" : found.some((it) => it.isBad) ? "is-bad" : "is-warn";
  say($("attention-count"), found.length === 0 ? "" : plural(found.length, "thing"));
  fill($("attention"), shown, showEntry);
}

function showEntry(it) {
  if (it.more) return make("li", { textContent: `and ${plural(it.more, "more thing")}` });
  const mark = make("span", { className: `mark ${it.isBad ? "bad" : "warn"}`, textContent: it.isBad ? "●" : "▲" });
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", it.isBad ? "problem:" : "warning:");
  const text = make("p", {}, make("strong", { textContent: it.subject }), ` ${it.text}`);
  const facts = it.facts.map(([name, value]) => make("span", {}, `${name} `, ...(name === "request" ? requestId(value) : [value])));
  return make("li", {}, mark, make("div", {}, text, ...(facts.length > 0 ? [make("p", { className: "facts" }, ...facts)] : [])));
}
