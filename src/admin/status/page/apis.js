
// ---- APIs ----

const API_NAMES = new Map([
  ["bedrock", "Bedrock"],
  ["chat_completions", "Chat Completions"],
  ["responses", "Responses"],
  ["messages", "Messages"],
  ["models", "Models"],
  ["other", "none"],
]);

// An API by its name in logs and metrics.
function apiName(api) {
  return API_NAMES.get(api) ?? textOf(api);
}

// An operation, with its API unless that is Bedrock's own.
function operationOf(line) {
  const operation = textOf(line.operation);
  const api = textOf(line.api);
  return ["", "-", "bedrock"].includes(api) ? operation : `${apiName(api)}: ${operation}`;
}

// With Bedrock's own operations alone, there is nothing to compare.
function showApis(apis) {
  $("apis-section").hidden = apis.every((it) => ["bedrock", "other"].includes(it.api));
  fill($("apis"), apis, (it) => {
    const head = rowHead(apiName(it.api));
    if (it.api === "other") head.title = "Requests that are no operation, or were refused before theirs was read";
    return tableRow(
      head,
      cell("Requests", count(it.requests), "number"),
      cell("Failed", count(it.failed), `number${it.failed > 0 ? " bad" : ""}`),
      cell("Own errors", count(it.client_errors), "number"),
      cell("Tokens in, out, cached", tokens(it), "number"),
      cell("Cost, USD", usd(it.cost_usd), "number"),
    );
  });
}
