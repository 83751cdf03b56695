
// ---- why another target answered ----

// The reasons in words: why the first target was passed over, or how its attempt failed.
const REASONS = {
  no_quota: "Its quota had no room at that moment",
  no_daily_quota: "A quota of the day had too few tokens left for the request",
  queue: "Requests ahead in the queue waited for its quota",
  cooling: "It was cooling, after throttles or failures",
  probing: "Another request tested it",
  drained: "An operator had taken it out",
  denied: "It is known to deny the operation",
  oversized: "The request is larger than its whole quota of a minute",
  beta_flag: "It does not take a beta flag that the request needs",
  surface: "It does not serve the API of the request, or takes no guardrail",
  schema: "The body has the schema of another model family",
  policy: "The client may not use its model",
  translation: "The request can't be translated for its model",
  unpriced: "The client has a budget, and its model has no price",
  throttled: "Bedrock throttled the attempt",
  exhausted: "A quota per day is used up",
  hedge_lost: "Another target answered faster",
};

function reasonText(reason) {
  if (Object.hasOwn(REASONS, reason)) return REASONS[reason];
  if (reason.startsWith("feature:")) return `It lacks a feature that the request uses: ${reason.slice(8)}`;
  return "The attempt failed";
}

function showFallbacks(counts) {
  $("fallbacks-section").hidden = counts.length === 0;
  fill($("fallbacks"), counts, (it) => {
    const reason = textOf(it.reason);
    return tableRow(
      rowHead(textOf(it.from)),
      cell("Answered by", textOf(it.to)),
      cell("Why", [make("span", { textContent: reasonText(reason) }), " ", make("code", { className: "quiet", textContent: reason })]),
      cell("Requests", count(it.count), "number"),
    );
  });
}
