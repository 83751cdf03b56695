"""Clients with small budgets, and the bounds that docs/budgets.md states for what they spend."""

import contextlib
import time

from .books import MOST_USD
from .fleet import BUDGETS, GATEWAYS
from .load import Spend

# A replica hears of another one's spending, and of its end, after this; see docs/budgets.md.
FLUSH_S = 1.0


@contextlib.contextmanager
def spending(run, client):
    """Requests of a client with a small budget to all gateways."""
    until = run.event()
    for gateway in range(len(GATEWAYS)):
        run.load.spawn(Spend(run.load, gateway, client), 0.1, until)
    try:
        yield
    finally:
        until.set()


def spent(run, client, until=float("inf")):
    """What the simulator was asked for, in USD."""
    nonces = {it.nonce for it in run.load.since(0, "spend") if it.client == client}
    return sum(call.usd for call in run.book.all() if call.nonce in nonces and call.at <= until)


def spend_half(run, client):
    """Spends about half of a budget, and waits until all gateways know of it."""
    with spending(run, client):
        limit = time.monotonic() + 15
        while spent(run, client) < 0.45 * BUDGETS[client] and time.monotonic() < limit:
            time.sleep(0.1)
    time.sleep(2 * FLUSH_S)


def keeps_to_the_budget(scenario, client, groups, known):
    """That a budget was exceeded by no more than docs/budgets.md states, when `groups` replicas (or groups of
    replicas) did not hear of each other after `known` USD had been spent; and that it is in force now."""
    run, budget = scenario.run, BUDGETS[client]
    requests = [it for it in run.load.since(0, "spend") if it.client == client and it.is_answered]
    in_an_interval = most_within(sorted(it.ended for it in requests), FLUSH_S + 0.5)
    bound = budget + (groups - 1) * (budget - known) + (len(GATEWAYS) + in_an_interval) * MOST_USD
    total = spent(run, client)
    scenario.fact(f"budget of {budget:.2f} USD: {known:.2f} known before, {total:.2f} spent, "
                  f"at most {bound:.2f} stated")
    scenario.must(total <= bound, f"client {client} spent {total:.3f} USD, more than the stated {bound:.3f}")
    scenario.must(total >= budget, f"client {client} was refused at {total:.3f} of {budget:.2f} USD")
    for gateway in range(len(GATEWAYS)):
        worker = Spend(run.load, gateway, client)
        request = worker.request()
        worker.send(request, gateway, "POST", worker.path, worker.body(request))
        worker.close()
        run.load.note(request)
        scenario.must(request.status == 403,
                      f"gateway {gateway + 1} still answers {client}: {request.status}")


def most_within(times, seconds):
    """The largest number of these times in any interval of that length."""
    most = first = 0
    for number, at in enumerate(times):
        while times[first] < at - seconds:
            first += 1
        most = max(most, number - first + 1)
    return most
