
// ---- clients and models ----

function budgetCell(budgets) {
  if (budgets.length === 0) return [DASH];
  return budgets.map((budget) => {
    const used = numberOf(budget.used);
    const bar = make("progress", { max: 1, value: Math.min(1, used), className: used >= 1 ? "bad" : used >= NEARLY_SPENT ? "warn" : "" });
    bar.setAttribute("aria-label", `${textOf(budget.period)} budget used`);
    const reset = moment(budget.resets) ? `Resets ${clock(budget.resets)}` : "";
    const text = make("span", { title: reset }, `${textOf(budget.period)}: ${usd(budget.spent_usd)} of ${usd(budget.limit_usd)} USD`);
    return make("div", { className: "budget" }, text, bar);
  });
}

function showClients(clients) {
  fill($("clients"), clients.length === 0 ? [null] : clients, (client) => {
    if (client === null) return emptyRow(11, "none");
    const number = (column, text) => cell(column, text, "number");
    const failed = cell("Failed, since the start", count(client.failed), `number${client.failed > 0 ? " bad" : ""}`);
    return tableRow(
      rowHead(textOf(client.name)),
      number("Requests, last minute", count(client.requests_last_minute)),
      number("Tokens, last minute", short(client.tokens_last_minute)),
      number("In flight", count(client.in_flight)),
      number("Waiting", count(client.waiting)),
      cell("Budget", budgetCell(objects(client.budgets)), "meter"),
      number("Requests, since the start", count(client.requests)),
      failed,
      number("Own errors, since the start", count(client.client_errors)),
      number("Tokens in, out, cached, since the start", tokens(client)),
      number("Cost since the start, USD", usd(client.cost_usd)),
    );
  });
}

// Input, output and cached tokens.
function tokens(it) {
  return [it.input, it.output, numberOf(it.cache_read) + numberOf(it.cache_write)].map(short).join(", ");
}

function showModels(models) {
  $("models-section").hidden = models.length === 0;
  const all = models.reduce((total, model) => total + numberOf(model.cost_usd), 0);
  fill($("models"), models, (model) => tableRow(
    rowHead(textOf(model.model)),
    cell("Answers", count(model.answers), "number"),
    cell("Tokens in, out, cached", tokens(model), "number"),
    cell("Cost, USD", usd(model.cost_usd), "number"),
    cell("Share of the cost", all > 0 ? percent(numberOf(model.cost_usd) / all) : DASH, "number"),
  ));
}
