
// ---- requests without an answer, in groups ----

// The attempts and the targets that were passed over, in one line.
function wayOf(line) {
  const attempts = objects(line.attempts).map((attempt) => {
    const id = textOf(attempt.upstream_request_id);
    const what = [`${textOf(attempt.target)} ${textOf(attempt.outcome)}`, textOf(attempt.error)].filter(Boolean).join(": ");
    return id === "" ? what : `${what} (upstream request ${id})`;
  });
  const passed = objects(line.passed_over).map((it) => `${textOf(it.target)} passed over: ${textOf(it.reason)}`);
  return [...attempts, ...passed].join("; ");
}

// Groups of one status, outcome, error, client and model; failed ones first, then the newest. The lines
// are the newest first.
function groupFailures(lines, failedOutcomes) {
  const groups = new Map();
  for (const line of lines) {
    const key = JSON.stringify([line.status, line.outcome, line.error, line.client, line.requested_model]);
    const known = groups.get(key);
    if (known) known.count += 1;
    else groups.set(key, { line, count: 1, isFailed: failedOutcomes.has(line.outcome) });
  }
  return [...groups.values()].sort((a, b) => b.isFailed - a.isFailed);
}

function showFailures(lines, outcomes) {
  const failedOutcomes = new Set(Array.isArray(outcomes) ? outcomes : lines.map((line) => line.outcome));
  const groups = groupFailures(lines, failedOutcomes);
  const failed = groups.filter((group) => group.isFailed).reduce((total, group) => total + group.count, 0);
  say($("failures-summary"), lines.length === 0 ? "none" : `${count(failed)} failed, ${count(lines.length - failed)} ended by their client, of the last ${count(lines.length)}`);
  fill($("failures"), groups.length === 0 ? [null] : groups, (group) => {
    if (group === null) return emptyRow(7, "none");
    const { line, count: times, isFailed } = group;
    const outcome = make("span", { className: `pill ${isFailed ? "bad" : "plain"}`, textContent: textOf(line.outcome) || "unknown" });
    outcome.title = isFailed ? "The request failed through no fault of its client" : "The client's own mistake, limit or disconnect ended the request";
    const head = rowHead(outcome, make("small", { textContent: [textOf(line.status), textOf(line.error)].filter(Boolean).join(" ") }));
    head.className = "outcome";
    const way = wayOf(line);
    const message = [make("span", { textContent: textOf(line.message) || DASH }), ...(way === "" ? [] : [make("small", { textContent: way })])];
    return tableRow(
      head,
      cell("Count", count(times), "number"),
      cell("Last", clock(line.time)),
      cell("Client", textOf(line.client)),
      cell("Model", [make("span", { className: "model", textContent: textOf(line.requested_model) || DASH }), make("small", { textContent: operationOf(line) })]),
      cell("Last message", message, "message"),
      cell("Last request", requestId(line.request_id), "request"),
    );
  });
}
