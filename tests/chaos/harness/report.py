"""The report: a table of the scenarios, what each found, and the books of the whole run."""

import os
import time

from .books import Comparison, overdrawn
from .fleet import BUDGETS
from .judge import judge, tally

# Violations of a scenario that are printed.
SHOWN = 12


def report(run, seed, took):
    """Prints the report, and returns the number of violations."""
    calls, requests = run.book.all(), run.load.since(0)
    judge_scenarios(run, calls)
    print(f"## Chaos: {len(run.scenarios)} scenarios, seed {seed}, {took:.0f} s, "
          f"load average {os.getloadavg()[1]:.1f} on {len(os.sched_getaffinity(0))} cores\n")
    print("| scenario | answered | refused | failed | broken off | noticed after | back after | verdict |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for scenario in run.scenarios:
        print(row(scenario, tally(scenario.requests)))
    print()
    for scenario in run.scenarios:
        print(f"- **{scenario.name}**: {scenario.about}. {'. '.join(scenario.facts)}.")
        for why in scenario.violations[:SHOWN]:
            print(f"  - VIOLATION: {why}")
        if len(scenario.violations) > SHOWN:
            print(f"  - and {len(scenario.violations) - SHOWN} more")
    overall = print_figures(run, calls, requests) + print_books(run, calls, requests)
    for why in overall:
        print(f"- VIOLATION: {why}")
    found = len(overall) + sum(len(scenario.violations) for scenario in run.scenarios)
    print(f"\n{found or 'No'} violations.")
    return found


def judge_scenarios(run, calls):
    """Adds to each scenario what its requests and calls show. It lasts until the next one begins."""
    judged = judge(run)
    ends = [scenario.began for scenario in run.scenarios[1:]] + [time.monotonic()]
    for scenario, end in zip(run.scenarios, ends):
        scenario.requests = [it for it in run.load.since(scenario.began) if it.ended < end]
        scenario.violations += [why for at, why in judged if scenario.began <= at < end]
        drawn = overdrawn(calls, scenario.began, end)
        what = f"beyond the shared quota by {drawn:.1f} requests, at most {scenario.overdraft:.1f} stated"
        scenario.fact(what)
        scenario.must(drawn <= scenario.overdraft, what)


def row(scenario, counts):
    noticed = "-"
    if scenario.degraded and scenario.degraded[0] is not None:
        noticed = " to ".join(sorted({f"{seconds:.2f} s" for seconds in scenario.degraded}))
    back = "-" if scenario.back is None else f"{scenario.back:.2f} s"
    verdict = f"{len(scenario.violations)} violations" if scenario.violations else "holds"
    return (f"| {scenario.name} | {counts['answered']} | {counts['refused']} | {counts['failed']} | "
            f"{counts['broken']} | {noticed} | {back} | {verdict} |")


def print_figures(run, calls, requests):
    """The figures of the whole run, and what is wrong with them."""
    counts, jobs = run.network.counts(), run.jobs.accepted()
    nonces = [call.nonce for call in calls]
    again = sum(nonces.count(request.nonce) > 1 for request in jobs)
    print("\n| the whole run | |\n| --- | --- |")
    for what, value in [
        ("requests", len(requests)),
        ("calls of models", len(calls)),
        ("answers to a wrong request, or failures that look like an end", len(run.load.wrong)),
        ("jobs accepted", len(jobs)),
        ("of them ended", sum(request.job in run.jobs.ended for request in jobs)),
        ("of them without a model's answer", len(run.jobs.failed())),
        ("of them with more than one call of a model, since their gateway was killed or cut off", again),
        ("jobs gone with Redis's data", len(run.jobs.gone - set(run.jobs.ended))),
        ("packets passed, lost, cut", f"{counts['passed']}, {counts['lost']}, {counts['cut']}"),
    ]:
        print(f"| {what} | {value} |")
    wrong = [f"{request.kind} at gateway {request.gateway + 1}: {why}" for request, why in run.load.wrong]
    return wrong + run.jobs.violations


def print_books(run, calls, requests):
    """What each client has spent by all books, and where they differ."""
    found, records = [], run.fleet.usage_records()
    print("\n| client, USD | gateways' records | Redis | known to the gateways | simulator | "
          "calls that are not whole | lost by a kill |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for client in BUDGETS:
        books = Comparison(client, calls, requests, records, run.killed)
        known = ", ".join("-" if it is None else f"{it:.4f}" for it in books.known)
        print(f"| {client} | {books.gateways:.4f} | {books.redis:.4f} | {known} | {books.simulator:.4f} | "
              f"{books.unclear} | {books.lost} |")
        found += books.violations()
    return found
