
// ---- targets ----

const rows = new Map();

function meter(column) {
  const text = make("span");
  const note = make("small");
  const bar = make("progress", { max: 1 });
  return { cell: cell(column, [text, bar, note], "meter"), text, bar, note };
}

// `limit` is the one that counts. Where it is learned, the configured one is named beside it. `held` is
// what this replica holds of what is left, where replicas share the quota.
function setMeter({ text, bar, note }, { available, held, limit, learned, configured }, label) {
  const notes = [];
  if (isNumber(learned)) notes.push(isNumber(configured) ? `learned; ${short(configured)} configured` : "learned");
  if (isNumber(held)) notes.push(`${short(Math.floor(Math.max(0, held)))} held here`);
  say(note, notes.join("; "));
  if (!isNumber(available) || !isNumber(limit)) {
    say(text, "not limited");
    bar.hidden = true;
    return;
  }
  const left = Math.max(0, available);
  say(text, `${short(Math.floor(left))} of ${short(limit)}`);
  bar.hidden = false;
  bar.value = limit > 0 ? Math.min(1, left / limit) : 0;
  bar.setAttribute("aria-label", label);
}

function newRow(name) {
  const label = make("span");
  const model = make("small", { className: "model" });
  const state = make("span", { className: "pill" });
  const explained = make("span", { className: "unseen" });
  const detail = make("small");
  const requests = meter("Requests left");
  const tokens = meter("Tokens left");
  const number = (column) => cell(column, "", "number");
  const [inFlight, latency] = ["In flight", "First byte"].map(number);
  const [waiters, queue] = [make("span"), make("small")];
  const waiting = cell("Waiting", [waiters, queue], "number");
  const reset = make("button", { type: "button", textContent: "Reset", title: "Ends the cooldown, for all replicas" });
  const drain = make("button", { type: "button" });
  reset.setAttribute("aria-label", `Reset the cooldown of ${name}`);
  reset.addEventListener("click", () => act(name, "reset"));
  drain.addEventListener("click", () => act(name, drain.dataset.act));
  const row = tableRow(rowHead(label, model), cell("State", [state, explained, detail]), requests.cell, tokens.cell,
    inFlight, waiting, latency, cell("Actions", [reset, " ", drain], "buttons"));
  row.dataset.target = name;
  return { row, label, model, state, explained, detail, requests, tokens, inFlight, waiters, queue, latency, reset, drain };
}

// Of limits of input and of output tokens, the one with the smaller share left.
function scarcer(limits) {
  const share = (limit) => (isNumber(limit.available) && limit.tpm > 0 ? limit.available / limit.tpm : 1);
  return limits.sort((one, other) => share(one) - share(other))[0];
}

function targetDetails(target) {
  const details = [];
  const throttles = target.consecutive_throttles;
  if (throttles > 0) details.push(`${plural(throttles, "throttle")} in a row`);
  const reason = isObject(target.out) ? textOf(target.out.reason) : "";
  if (reason !== "" && reason !== "drained" && target.state !== "available") details.push(reason);
  const side = target.count_tokens;
  if (isObject(side) && target.state !== "drained") {
    const left = side.cooldown_remaining;
    details.push(`CountTokens: ${textOf(side.state)}${isNumber(left) ? ` ${rest(left)}` : ""}`);
  }
  for (const daily of objects(target.daily_quotas)) {
    const figure = isNumber(daily.tpd) ? daily.tpd : daily.learned_tpd;
    const left = isNumber(daily.available) ? `${short(daily.available)} left` : `${short(daily.used)} used`;
    const whole = isNumber(figure) ? ` of ${short(figure)}` : "";
    details.push(`today ${left}${whole} (${textOf(daily.name)}${daily.is_confirmed === true ? ", used up at the upstream" : ""})`);
  }
  for (const denied of objects(target.denied)) {
    const verb = denied.is_confirmed === false ? "has denied a request for" : "denies";
    details.push(`${verb} ${textOf(denied.operation)}: ${textOf(denied.status)} ${textOf(denied.error)}, ${textOf(denied.message)}`);
  }
  return details.join("; ");
}

function showTarget(parts, target) {
  const quota = isObject(target.quota) ? target.quota : {};
  const name = textOf(target.name);
  const state = textOf(target.state) || "unknown";
  const seconds = target.cooldown_remaining;
  say(parts.label, name);
  const endpoint = target.endpoint === "mantle" ? "mantle" : "";
  say(parts.model, [textOf(target.model), textOf(target.region), endpoint].filter(Boolean).join(", "));
  say(parts.state, isNumber(seconds) ? `${state} ${rest(seconds)}` : state);
  parts.state.className = `pill ${Object.hasOwn(STATES, state) ? state : "unknown"}`;
  const explained = Object.hasOwn(STATES, state) ? STATES[state] : "";
  if (parts.state.title !== explained) parts.state.title = explained;
  say(parts.explained, explained === "" ? "" : ` (${explained})`);
  say(parts.detail, targetDetails(target));
  setMeter(parts.requests, { available: quota.requests_available, held: quota.requests_held, limit: quota.rpm, learned: quota.learned_rpm, configured: quota.configured_rpm }, `requests left of ${name}`);
  const apart = scarcer(objects([quota.input, quota.output]));
  if (apart !== undefined) {
    setMeter(parts.tokens, { available: apart.available, held: apart.held, limit: apart.tpm, learned: apart.learned_tpm }, `tokens left of ${name}`);
  } else setMeter(parts.tokens, { available: quota.tokens_available, held: quota.tokens_held, limit: quota.tpm, learned: quota.learned_tpm, configured: quota.configured_tpm }, `tokens left of ${name}`);
  say(parts.inFlight, count(quota.in_flight));
  showWaiting(parts, target);
  say(parts.latency, target.latency_ms > 0 ? length(target.latency_ms) : DASH);
  const isDrained = state === "drained";
  say(parts.drain, isDrained ? "Resume" : "Drain");
  parts.drain.title = isDrained ? "Puts the target back into traffic, at this replica only" : "Takes the target out of traffic, at this replica only; requests in flight continue";
  parts.drain.dataset.act = isDrained ? "resume" : "drain";
  parts.drain.setAttribute("aria-label", isDrained ? `Put ${name} back into traffic` : `Take ${name} out of traffic`);
  parts.row.dataset.text = `${name} ${textOf(target.display_name)} ${textOf(target.model)} ${textOf(target.region)} ${endpoint} ${state}`.toLowerCase();
}

// A queue is counted once, at the first of the targets that share it.
function showWaiting(parts, target) {
  const first = textOf(target.shares_queue_of);
  say(parts.waiters, first === "" ? count(target.waiters) : "");
  say(parts.queue, first === "" ? "" : `with ${first}`);
}

function showTargets(targets) {
  const seen = new Set();
  for (const target of targets) {
    const name = textOf(target.name);
    seen.add(name);
    if (!rows.has(name)) {
      const parts = newRow(name);
      rows.set(name, parts);
      $("targets").append(parts.row);
    }
    showTarget(rows.get(name), target);
  }
  for (const [name, parts] of rows) {
    if (seen.has(name)) continue;
    parts.row.remove();
    rows.delete(name);
  }
  const out = targets.filter((target) => target.state !== "available").length;
  say($("summary"), targets.length === 0 ? "none" : out === 0 ? `all ${targets.length} available` : `${out} of ${targets.length} not available`);
  filter();
}

function filter() {
  const wanted = $("filter").value.trim().toLowerCase();
  for (const { row } of rows.values()) row.hidden = !row.dataset.text.includes(wanted);
}
