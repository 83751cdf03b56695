
// ---- the last hour in plots, and the last minute in figures ----

const MINUTE = 60 * 1000;

// The plots are as long as the history, in one of these lengths.
const SPANS = [10, 30, 60].map((minutes) => minutes * MINUTE);

const perMinute = (value) => short(value);
const seconds = (ms) => length(ms);

const PLOTS = {
  requests: new Plot({ id: "requests", title: "Requests", unit: "a minute", format: perMinute }),
  choice: new Plot({ id: "choice", title: "Fallbacks and throttles", unit: "a minute", format: perMinute }),
  clients: new Plot({ id: "clients", title: "Requests by client", unit: "a minute", format: perMinute }),
  queue: new Plot({ id: "queue", title: "Requests waiting in the queue", unit: "peak", format: perMinute }),
  wait: new Plot({ id: "wait", title: "Longest wait in the queue", unit: "peak", format: seconds, isWhole: false, least: 1000 }),
  cost: new Plot({ id: "cost", title: "Cost", unit: "USD a minute", format: usd, isWhole: false, least: 0.01 }),
};
const FIRST_CHOICE = new Plot({ id: "first-choice", title: "Answered by the first choice", unit: "%", format: (value) => `${value.toFixed(value === 100 ? 0 : 1)} %`, tick: (value) => `${value} %`, most: 100 });

$("plots").append(PLOTS.requests.figure, FIRST_CHOICE.figure, ...Object.entries(PLOTS).filter(([name]) => name !== "requests").map(([, plot]) => plot.figure));

// Steps in groups of a minute, the last one ending now.
function minutes(steps, size) {
  const groups = [];
  for (let end = steps.length; end > 0; end -= size) groups.unshift(steps.slice(Math.max(0, end - size), end));
  return groups;
}

const sum = (steps, key) => steps.reduce((total, step) => total + numberOf(step[key]), 0);
const peak = (steps, key) => Math.max(0, ...steps.map((step) => numberOf(step[key])));
const has = (steps, key) => steps.some((step) => isNumber(step[key]));

// The counts of the last minute; undefined without a history.
function lastMinute(history) {
  const steps = objects(history?.steps);
  if (steps.length === 0) return undefined;
  const last = steps.slice(-minuteSize(history));
  const keys = ["requests", "failed", "fallbacks", "throttles", "answered", "first_choice"];
  return Object.fromEntries(keys.map((key) => [key, has(last, key) ? sum(last, key) : undefined]));
}

const minuteSize = (history) => Math.max(1, Math.round(60 / (numberOf(history.seconds) || 10)));

function showHistory(history, now) {
  const steps = objects(history.steps);
  const size = minuteSize(history);
  const groups = minutes(steps, size);
  const age = groups.length * MINUTE;
  const span = SPANS.find((one) => age <= one) ?? SPANS.at(-1);
  const times = groups.map((_, index) => now - (groups.length - 1 - index) * MINUTE);
  const show = (plot, series) => plot.show(series, times, now - span, now);
  const line = (name, className, key, reduce = sum) => ({ name, className, values: groups.map((group) => (has(group, key) ? reduce(group, key) : undefined)) });
  show(PLOTS.requests, [line("all", "a", "requests"), line("failed", "bad", "failed")]);
  show(PLOTS.choice, [line("fallbacks", "a", "fallbacks"), line("throttles", "bad", "throttles")]);
  show(PLOTS.queue, [line("waiting", "a", "waiting", peak)]);
  show(PLOTS.wait, [line("oldest", "a", "oldest_wait_ms", peak)]);
  show(PLOTS.cost, [line("cost", "a", "cost_usd")]);
  const shares = groups.map((group) => {
    const answered = sum(group, "answered");
    return answered > 0 ? (100 * sum(group, "first_choice")) / answered : undefined;
  });
  FIRST_CHOICE.figure.hidden = !has(steps, "first_choice");
  show(FIRST_CHOICE, [{ name: "first choice", className: "a", values: shares }]);
  showClientLines(history, groups, size, show);
  for (const [plot, key] of [["queue", "waiting"], ["wait", "oldest_wait_ms"], ["cost", "cost_usd"]]) {
    PLOTS[plot].figure.hidden = !has(steps, key);
  }
}

function showClientLines(history, groups, size, show) {
  const clients = objects(history.clients).filter((client) => Array.isArray(client.requests));
  PLOTS.clients.figure.hidden = clients.length === 0;
  const series = clients.slice(0, 5).map((client, index) => ({
    name: textOf(client.name),
    className: ["a", "b", "c", "d", "e"][index],
    values: minutes(client.requests, size).map((group) => group.reduce((total, value) => total + numberOf(value), 0)),
  }));
  show(PLOTS.clients, series);
}

// The last hour's cost; undefined if the gateway does not tell it.
function hourCost(history) {
  const steps = objects(history?.steps);
  return has(steps, "cost_usd") ? sum(steps, "cost_usd") : undefined;
}

function showFigures(status, minute, history) {
  const queue = isObject(status.queue) ? status.queue : {};
  const inFlight = isObject(status.in_flight) ? status.in_flight : {};
  const totals = isObject(status.totals) ? status.totals : {};
  say($("rate"), minute ? count(minute.requests) : DASH);
  const failing = minute && minute.requests > 0 && isNumber(minute.failed) ? minute.failed / minute.requests : undefined;
  say($("failed"), failing === undefined ? DASH : `${count(minute.failed)} (${percent(failing)})`);
  $("failed").className = failing === undefined ? "" : failing >= FAILING ? "bad" : failing > 0 ? "warn" : "good";
  const share = ({ answered, first_choice: first }) => (answered > 0 && isNumber(first) ? first / answered : undefined);
  say($("first-choice"), percent(share(minute ?? {}) ?? share(totals)));
  say($("first-choice-all"), share(totals) === undefined ? "" : `${percent(share(totals))} since the start`);
  $("first-choice-tile").hidden = !isNumber(totals.first_choice);
  say($("fallback-rate"), minute ? count(minute.fallbacks) : DASH);
  say($("throttle-rate"), minute ? count(minute.throttles) : DASH);
  say($("waiting"), `${count(queue.waiting)} of ${count(queue.max_waiting)}`);
  say($("oldest-wait"), isNumber(queue.oldest_wait_ms) ? `the oldest for ${length(queue.oldest_wait_ms)}` : "");
  say($("in-flight"), `${count(inFlight.requests)} of ${count(inFlight.max_requests)}`);
  const cost = objects(status.clients).reduce((total, client) => total + numberOf(client.cost_usd), 0);
  const hour = hourCost(history);
  say($("cost"), `${usd(hour ?? cost)} USD`);
  say($("cost-all"), hour === undefined ? "since the start" : `${usd(cost)} USD since the start`);
  say($("cost-title"), hour === undefined ? "Cost" : "Cost, last hour");
}
