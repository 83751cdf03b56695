"""One scenario, and how it sees that something is away of a gateway and is back."""

import time

from . import fleet
from .fleet import GATEWAYS
from .judge import RETURN_S

# Between two looks at a gateway's metrics.
LOOK_S = 0.05
# Longer than any time limit of a gateway's call to Redis or to the simulator, and than a claim of a job.
CUT_S = 8.0
STORES = ["redis", "job_queue", "budgets", "response_store"]
UNKNOWN_TASK = "/task_status/01a20c65-0000-7000-8000-000000000000"


class Scenario:
    """One of them: what it does, what it found, and what it must not have found."""

    def __init__(self, run, name, about):
        self.run, self.name, self.about = run, name, about
        self.began = self.ended = 0.0
        self.facts, self.violations = [], []
        # Seconds until the first and the last gateway knew of the trouble, and until the last was back.
        self.degraded, self.back = None, None
        # Requests by which the calls may go beyond the shared quota: a packet's delay, at the least.
        self.overdraft = 2.0
        # Requests that ended in it; `report` fills it.
        self.requests = []

    def __enter__(self):
        self.began = time.monotonic()
        self.run.say(f"{self.name}: {self.about}")
        return self

    def __exit__(self, kind, error, trace):
        self.ended = time.monotonic()
        if kind is None:
            self.run.scenarios.append(self)

    def must(self, holds, what):
        if not holds:
            self.violations.append(what)

    def fact(self, text):
        self.facts.append(text)

    def back_after(self, seconds, what):
        self.back = max(self.back or 0.0, seconds)
        self.must(seconds <= RETURN_S, f"{what} is back after {seconds:.2f} s, not within {RETURN_S:.0f} s")


def watch(gateways, wanted, limit_s):
    """Looks at what these gateways know of their stores, until all have the wanted value. Returns the
    seconds after which each had it; None for one that did not within the limit."""
    began, reached = time.monotonic(), {}
    while time.monotonic() - began < limit_s and len(reached) < len(gateways) * len(STORES):
        for gateway in gateways:
            # The time at which it was asked: on a busy machine the answer takes a while.
            asked = time.monotonic() - began
            text = fleet.admin(GATEWAYS[gateway], "/metrics")
            for store in STORES:
                value = fleet.metric(text, f'sluice_dependency_up{{dependency="{store}"}}')
                if value == wanted:
                    reached.setdefault((gateway, store), asked)
        time.sleep(LOOK_S)
    return {(gateway, store): reached.get((gateway, store)) for gateway in gateways for store in STORES}


def sees_redis_go(scenario, gateways, limit_s):
    """How soon the gateways notice; that they stay ready and say what docs/jobs.md says."""
    reached = watch(gateways, 0.0, limit_s)
    scenario.degraded = (min(filter(None, reached.values()), default=None),
                         max(filter(None, reached.values()), default=None))
    for (gateway, store), seconds in reached.items():
        scenario.must(seconds is not None, f"gateway {gateway + 1} does not notice that {store} is away")
    for gateway in gateways:
        is_ready = "true" in fleet.admin(GATEWAYS[gateway], "/readyz")
        scenario.must(is_ready, f"gateway {gateway + 1} is not ready")
        headers = {"authorization": "Bearer " + fleet.key_of("open")}
        status, _ = fleet.call(GATEWAYS[gateway], fleet.PORT, "GET", UNKNOWN_TASK, headers=headers)
        scenario.must(status == 503, f"gateway {gateway + 1} answers /task_status with {status}, not 503")


def sees_redis_return(scenario, gateways):
    reached = watch(gateways, 1.0, 3 * RETURN_S)
    for (gateway, store), seconds in reached.items():
        if seconds is None:
            scenario.must(False, f"{store} at gateway {gateway + 1} is not back after {3 * RETURN_S:.0f} s")
        else:
            scenario.back_after(seconds, f"{store} at gateway {gateway + 1}")
    by_store = {store: max((reached[gateway, store] or 99.0) for gateway in gateways) for store in STORES}
    scenario.fact("back: " + ", ".join(f"{store} {seconds:.2f} s" for store, seconds in by_store.items()))


def rest(until):
    time.sleep(max(0.0, until - time.monotonic()))


def answers_come(scenario, gateway, model, since):
    """Seconds after `since` at which an answer of this model came first."""
    limit = time.monotonic() + CUT_S
    while time.monotonic() < limit:
        ended = [it.ended for it in scenario.run.load.since(since, "converse")
                 if it.gateway == gateway and it.is_answered and it.model == model]
        if ended:
            return min(ended) - since
        time.sleep(LOOK_S)
    scenario.must(False, f"no answer of {model} at gateway {gateway + 1}")
    return None


def first_answer(scenario, gateway, model, since):
    seconds = answers_come(scenario, gateway, model, since)
    return 99.0 if seconds is None else seconds
