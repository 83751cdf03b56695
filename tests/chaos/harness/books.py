"""The simulator's books, and what gateways, Redis and simulator say was spent.

The simulator's log has every model call with its nonce, its tokens and its end. It is read as the run goes
on, because the simulator keeps the last 10,000 entries only.
"""

import json
import threading
import time

from . import fleet
from .fleet import (BUDGETS, FAR, GATEWAYS, INPUT_PRICE, MAX_TOKENS, OUTPUT_PRICE, RPM, SCARCE,
                    SIMULATOR_PORT)
from .load import NONCE

# The most that a request of this run can cost, in USD.
MOST_USD = (MAX_TOKENS * OUTPUT_PRICE + 1000 * INPUT_PRICE) / 1e6
READ_EVERY_S = 1.0
# What a killed gateway may lose of what it has spent: what ended this long before, and what was in flight.
LOST_BY_A_KILL_S = 0.05


class Book:
    """All calls of models that the simulator saw, by their number."""

    def __init__(self):
        self.calls, self.open_from = {}, 0
        self.lock = threading.Lock()
        # The simulator's clock, in seconds, less this process's.
        self.offset = None
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        """Call this before any other request to the simulator."""
        before = time.monotonic()
        fleet.call(FAR, SIMULATOR_PORT, "GET", "/model/none/of-this")
        entry = self.fetch(0)[-1]
        self.offset = entry["at_ms"] / 1000 - before
        self.thread.start()

    def run(self):
        while not self.stopped.wait(READ_EVERY_S):
            self.read()

    def stop(self):
        self.stopped.set()
        if self.thread.is_alive():
            self.thread.join()

    def fetch(self, since):
        path = f"/_sim/log?since={since}&limit=1000"
        return json.loads(fleet.call(FAR, SIMULATOR_PORT, "GET", path)[1])["entries"]

    def read(self):
        """Reads on, from the first call that had not ended."""
        with self.lock:
            since = self.open_from
            while True:
                entries = self.fetch(since)
                for entry in entries:
                    if entry["operation"]:
                        self.calls[entry["seq"]] = Call(entry, self.offset)
                if len(entries) < 1000:
                    break
                since = entries[-1]["seq"]
            newest = max(self.calls, default=0)
            still_open = [number for number in range(self.open_from, newest + 1)
                          if number in self.calls and not self.calls[number].has_ended]
            self.open_from = min(still_open, default=newest + 1) - 1

    def all(self):
        self.read()
        with self.lock:
            return list(self.calls.values())

    def by_nonce(self):
        calls = {}
        for call in self.all():
            calls.setdefault(call.nonce, []).append(call)
        return calls


class Call:
    """One call of a model; `at` is on this process's clock."""

    def __init__(self, entry, offset):
        found = NONCE.findall(entry["body"])
        # The last one is that of the request itself; earlier turns stand before it.
        self.nonce = found[-1] if found else None
        self.model = entry["model"]
        self.at = entry["at_ms"] / 1000 - offset
        self.has_ended = entry["ending"] != "open"
        self.is_whole = entry["ending"] == "finished" and entry["status"] == 200
        self.usd = (entry["input_tokens"] * INPUT_PRICE + entry["output_tokens"] * OUTPUT_PRICE) / 1e6


def overdrawn(calls, began, ended):
    """How far the calls between these times went beyond the shared quota: the largest shortfall of a
    bucket of one minute that was full when the run began."""
    level, at, most = float(RPM), None, 0.0
    for call in sorted((it for it in calls if it.model == SCARCE), key=lambda it: it.at):
        level = min(RPM, level + (call.at - (at or call.at)) * RPM / 60) - 1
        at = call.at
        if began <= at <= ended:
            most = max(most, -level)
    return most


def spent_in_redis(client):
    """The sum of what all gateways have written for a client's days, in USD."""
    total = 0
    for key in fleet.redis("--raw", "KEYS", f"{{sluice}}:budget:daily:*:{client}"):
        total += sum(int(figure) for figure in fleet.redis("--raw", "HVALS", key) if figure)
    return total / 1e9


def spent_by_gateways(records, client):
    return sum(it.get("cost_usd") or 0 for it in records if it["client"] == client)


def known_to(gateway, client):
    """What one gateway knows of a client's spending, in USD."""
    name = f'sluice_client_budget_used_ratio{{client="{client}",period="daily"}}'
    ratio = fleet.metric(fleet.admin(GATEWAYS[gateway], "/metrics"), name)
    return None if ratio is None else ratio * BUDGETS[client]


class Comparison:
    """Gateways, Redis and simulator about one client."""

    def __init__(self, client, calls, requests, records, killed):
        self.client = client
        clients = {request.nonce: request.client for request in requests}
        # What has no nonce are the analyses that open sessions.
        calls = [it for it in calls if clients.get(it.nonce, "open") == client]
        records = [it for it in records if it["client"] == client]
        self.simulator = sum(call.usd for call in calls)
        self.gateways = spent_by_gateways(records, client)
        self.redis = spent_in_redis(client)
        self.known = [known_to(gateway, client) for gateway in range(len(GATEWAYS))]
        # Broken off, timed out or estimated: gateway and simulator may count them differently.
        self.unclear = sum(not call.is_whole for call in calls)
        self.unclear += sum(it["estimated"] or it["outcome"] != "success" and bool(it["cost_usd"])
                            for it in records)
        # What the killed gateway had in flight, or had ended just before.
        self.lost = sum(request.client == client and request.gateway == gateway
                        and request.began <= at and request.ended >= at - LOST_BY_A_KILL_S
                        for request in requests for gateway, at in killed)

    def violations(self):
        """What differs by more than docs/budgets.md says."""
        found, rounding = [], 1e-6
        if abs(self.redis - self.gateways) > rounding + self.lost * MOST_USD:
            found.append(f"client {self.client}: Redis has {self.redis:.6f} USD, the gateways' records "
                         f"{self.gateways:.6f}; {self.lost} requests may be lost by a kill")
        for number, known in enumerate(self.known, 1):
            if known is None or abs(known - self.redis) > rounding * max(1, self.redis):
                found.append(f"client {self.client}: gateway {number} knows of {known} USD, Redis has "
                             f"{self.redis:.6f}")
        if abs(self.gateways - self.simulator) > rounding + (self.unclear + self.lost) * MOST_USD:
            found.append(f"client {self.client}: the gateways' records have {self.gateways:.6f} USD, the "
                         f"simulator {self.simulator:.6f}; {self.unclear} calls were not whole")
        return found
