"""Compares the books after the load: of the clients, the gateways' logs and metrics, the stores, and the simulator.

A check has a name, the two figures, and the reason for a difference if there may be one. Without a reason the two
must be equal.
"""

import datetime
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from dataclasses import dataclass

from . import configs
from .ledger import TOKENS
from .metrics import Metrics

NANO = 1_000_000_000


@dataclass
class Check:
    name: str
    one: object
    other: object
    # Why they differ, if they may.
    reason: str = ""
    is_right: bool | None = None

    def passes(self):
        return self.one == self.other if self.is_right is None else self.is_right


class UsageLog:
    """Sums of the records of one gateway; full files are taken from its disk as they come."""

    def __init__(self, gateway):
        self.gateway, self.records, self.torn = gateway, 0, 0
        # By client, of all records and of the estimated ones; records by (client, outcome) of these.
        self.tokens, self.estimated, self.why = {}, {}, Counter()
        self.path = gateway.folder / "usage.jsonl" if gateway.name == "one" else gateway.on_disk("usage.jsonl")

    def look(self):
        """Takes the full files. They would fill the disk."""
        numbered = [path for path in self.path.parent.glob("usage.jsonl.*") if path.suffix[1:].isdigit()]
        for path in sorted(numbered, key=lambda path: int(path.suffix[1:])):
            self.read(path)
            path.unlink()

    def read(self, path):
        with path.open("rb") as file:
            for line in file:
                try:
                    self.add(json.loads(line))
                except ValueError:
                    self.torn += 1

    def add(self, record):
        self.records += 1
        tokens = {kind: record[kind + "_tokens"] for kind in TOKENS}
        self.tokens.setdefault(record["client"], Counter()).update(tokens)
        if record["estimated"] and any(tokens.values()):
            self.estimated.setdefault(record["client"], Counter()).update(tokens)
            self.why[record["client"], record["outcome"]] += 1

    def finish(self):
        self.look()
        self.read(self.path)


def compare(stage, clients, jobs, ledger, usage_logs):
    """All checks, of each gateway and of both."""
    checks = []
    for gateway, usage in zip(stage.gateways, usage_logs):
        metrics = Metrics(gateway)
        checks += requests(gateway, clients, ledger, metrics)
        checks += records(gateway, ledger, metrics, usage)
        checks += tokens(gateway, ledger, metrics, usage)
        checks += spending(stage, gateway, metrics)
        checks += kept(gateway, clients, metrics)
        checks += health(gateway, metrics)
    return checks + job_checks(stage, jobs) + upstream(stage, ledger) + [
        Check("answers with another request's text", len(clients.foreign), 0)]


def requests(gateway, clients, ledger, metrics):
    """Each request that a client sent has its line, its status and its outcome."""
    checks = []
    for client in configs.BUDGETS:
        if client == "legacy":
            continue
        of_client = {key: count for key, count in ledger.lines.items() if key[:2] == (gateway.name, client)}
        # Its other lines are the calls that its embeddings are made of.
        own = {key: count for key, count in of_client.items() if client != "embedder" or key[2] == "CreateEmbeddings"}
        name = f"{gateway.name}, {client}: "
        sent, lines = clients.sent[gateway.name, client], sum(own.values())
        if client == "leaver":
            unread = sent - lines
            checks.append(Check(name + "sent; logged", sent, lines,
                                f"{unread} were reset before the gateway had read their head" if unread else "",
                                0 <= unread <= clients.left[gateway.name, client]))
            continue
        checks.append(Check(name + "sent; logged", sent, lines))
        seen = Counter({key[2]: count for key, count in clients.statuses.items() if key[:2] == (gateway.name, client)})
        logged = Counter()
        for (of, who, operation, status), count in ledger.statuses.items():
            if (of, who) == (gateway.name, client) and (client != "embedder" or operation == "CreateEmbeddings"):
                logged[status] += count
        checks.append(Check(name + "statuses seen; logged", shown(seen), shown(logged)))
        whole = clients.whole[gateway.name, client]
        success = sum(count for key, count in own.items() if key[3] == "success")
        checks.append(Check(name + "whole answers seen; successes logged", whole, success))
    return checks


def shown(counter):
    return ", ".join(f"{key}: {count}" for key, count in sorted(counter.items(), key=str) if count)


def records(gateway, ledger, metrics, usage):
    """Log, metrics and records of use have the same requests."""
    logged, counted = Counter(), Counter()
    for (of, client, operation, outcome), count in ledger.lines.items():
        if of == gateway.name:
            other = {"-": "other"}
            logged[other.get(client, client), other.get(operation, operation), outcome] += count
    for labels, value in metrics.of("sluice_requests_total"):
        if value:
            counted[labels["client"], labels["operation"], labels["outcome"]] += int(value)
    apart = {key: (logged[key], counted[key]) for key in logged.keys() | counted.keys() if logged[key] != counted[key]}
    dropped = int(metrics.sum("sluice_usage_log_dropped_total"))
    total = sum(logged.values())
    reason = f"{dropped} were dropped on the full disk, as the metric says" if dropped else ""
    return [
        Check(f"{gateway.name}: requests logged; counted", total, sum(counted.values())),
        Check(f"{gateway.name}: (client, operation, outcome) with another count", str(apart or "none"), "none"),
        Check(f"{gateway.name}: requests logged; records of use", total, usage.records, reason,
              total == usage.records + dropped),
        Check(f"{gateway.name}: records of use that are no whole line", usage.torn, 0,
              "the disk was full in the middle of each" if usage.torn else "", usage.torn <= dropped),
    ]


def tokens(gateway, ledger, metrics, usage):
    """Counted tokens are those that answers reported, and those of the records that are estimated."""
    checks = []
    dropped = int(metrics.sum("sluice_usage_log_dropped_total"))
    for client in configs.BUDGETS:
        reported = ledger.reported.get((gateway.name, client))
        for kind in ("input", "output"):
            counted = int(metrics.sum("sluice_tokens_total", client=client, kind=kind))
            of_reports = reported.tokens[kind] if reported else 0
            estimated = usage.estimated.get(client, Counter())[kind]
            why = shown({outcome: count for (who, outcome), count in usage.why.items() if who == client})
            reason = f"{estimated} are estimates: {why}" if estimated else ""
            rest = counted - of_reports - estimated
            if rest and dropped:
                reason += f"; {rest} are of estimates among the {dropped} dropped records"
            checks.append(Check(f"{gateway.name}, {client}: {kind} tokens counted; reported by answers", counted,
                                of_reports, reason, rest == 0 or dropped > 0 and rest > 0))
    return checks


def spending(stage, gateway, metrics):
    """Each client with a budget has spent what its answers cost, to the billionth of a dollar."""
    stored = in_redis(stage) if gateway.name == "one" else in_file(gateway)
    where = "Redis" if gateway.name == "one" else "SQLite"
    return [Check(f"{gateway.name}, {client}: nano-USD counted; spent by {where}",
                  sum(round(value * NANO) for _, value in metrics.of("sluice_cost_usd_total", client=client)),
                  stored.get(client, 0))
            for client, budget in configs.BUDGETS.items() if budget is not None]


def today():
    """The number of the day by which stores know it."""
    return (datetime.datetime.now(datetime.timezone.utc).date() - datetime.date(1970, 1, 1)).days


def in_redis(stage):
    sums = {}
    for client in configs.BUDGETS:
        values = stage.redis.ask("HVALS", f"{{sluice}}:budget:daily:{today()}:{client}")
        sums[client] = sum(int(value) for value in values if value)
    return sums


def in_file(gateway):
    with tempfile.TemporaryDirectory() as folder:
        # A copy, since the file is another process's.
        for end in ("", "-wal"):
            path = gateway.on_disk("budgets.db" + end)
            if path.exists():
                shutil.copy(path, f"{folder}/budgets.db{end}")
        with sqlite3.connect(f"{folder}/budgets.db") as file:
            query = "SELECT client, nano_usd FROM sluice_budgets WHERE kind = 'daily' AND period = ?"
            rows = file.execute(query, [today()])
            return dict(rows.fetchall())


def kept(gateway, clients, metrics):
    stored = int(metrics.sum("sluice_kept_responses_total", result="stored"))
    seen, maybe = clients.kept[gateway.name], clients.maybe_kept[gateway.name]
    reason = f"the client had left {stored - seen} of them" if stored != seen else ""
    return [Check(f"{gateway.name}: responses kept; that clients saw", stored, seen, reason,
                  0 <= stored - seen <= maybe)]


def health(gateway, metrics):
    own_log = gateway.own_log.read_text(errors="replace")
    checks = [Check(f"{gateway.name}: panics", int(metrics.sum("sluice_panics_total")) + own_log.count("panicked"), 0),
              Check(f"{gateway.name}: configs refused at a reload",
                    int(metrics.sum("sluice_config_reloads_total", result="refused")), 0),
              Check(f"{gateway.name}: reloads asked for; done", gateway.reloads,
                    int(metrics.sum("sluice_config_reloads_total", result="ok"))),
              Check(f"{gateway.name}: lines of the access log dropped",
                    int(metrics.sum("sluice_access_log_dropped_total")), 0)]
    down = [labels["dependency"] for labels, value in metrics.of("sluice_dependency_up") if value != 1]
    return checks + [Check(f"{gateway.name}: dependencies that are down at the end", ", ".join(down) or "none", "none")]


def job_checks(stage, jobs):
    checks = []
    for gateway in stage.gateways:
        ended = {state: count for (of, state), count in jobs.ended.items() if of == gateway.name}
        checks.append(Check(f"{gateway.name}: jobs accepted; ended", jobs.accepted[gateway.name], sum(ended.values()),
                            shown(ended), jobs.accepted[gateway.name] == sum(ended.values())))
    return checks + [Check("jobs that never ended", "; ".join(jobs.lost) or "none", "none")]


def upstream(stage, ledger):
    """Gateways and simulator agree about each answer that told its tokens, and about who was called."""
    models = json.loads(stage.control("GET", "books"))["models"].values()
    in_books = {kind: sum(model[kind + "_tokens"] for model in models) for kind in TOKENS}
    unpaired = ledger.unpaired_entries()
    without_head = sum(sums.count for key, sums in unpaired.items())
    headless = sum(ledger.headless.values())
    resent = int(sum(Metrics(gateway).sum("sluice_upstream_resent_total") for gateway in stage.gateways))
    left = without_head - headless - resent
    kinds = [*(f"{count} {outcome}" for outcome, count in ledger.headless.most_common()),
             f"{resent} were sent again, for the connection was dead", f"{left} of the client's leaving meanwhile"]
    return [
        Check("tokens reported by answers; generated for these by the simulator", shown(ledger.told.tokens),
              shown(ledger.generated.tokens), f"{ledger.told.count} answers"),
        Check("the same of answers of InvokeModel that broke", shown(ledger.told_and_broken.tokens),
              shown(ledger.sent_and_broken.tokens),
              f"{ledger.told_and_broken.count} answers: their heads told all tokens; the simulator counts what it sent",
              all(ledger.told_and_broken.tokens[kind] >= ledger.sent_and_broken.tokens[kind] for kind in TOKENS)),
        Check("answers whose tokens differ from the simulator's", len(ledger.differences), 0,
              "; ".join(ledger.differences[:5])),
        Check("bidirectional streams: tokens reported; generated", shown(ledger.told_both_ways.tokens),
              shown(ledger.generated_both_ways.tokens), f"{ledger.told_both_ways.count} streams"),
        Check("attempts with an upstream's id that the simulator does not know", len(ledger.attempts), 0),
        Check("ids that two attempts have", ledger.duplicates, 0),
        Check("attempts without an answer's head; calls at the simulator that no attempt names", headless, without_head,
              ", ".join(kinds), 0 <= left <= ledger.left_early),
        Check("tokens by the simulator's log; by its books", shown(ledger.calls.tokens), shown(Counter(in_books))),
    ]
