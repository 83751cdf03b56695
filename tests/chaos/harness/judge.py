"""What every request of a run must have got, whatever befell the fleet meanwhile.

A request is excused only by what was away of its own gateway while it was under way, and for the time that
a return may take.
"""

import dataclasses
from collections import Counter

# Whatever was away must be back so soon after it can be reached again.
RETURN_S = 2.0
# A call of a model that begins so long after its request has ended is one that nobody waits for.
LATE_S = 3.0
# What a request gets when no target can be reached, in the forms of all APIs; see docs/fallback.md.
UNREACHABLE = (408, 429, 503, 504, 529)


@dataclasses.dataclass
class Away:
    """Something was away of a gateway (None: of all) from then until then (None: it still is)."""

    gateway: int | None
    began: float
    until: float | None
    is_emptied: bool = False

    def concerns(self, request, more_s=0.0):
        is_its = self.gateway in (None, request.gateway)
        return is_its and self.meets(request.began, request.ended, more_s)

    def meets(self, began, ended, more_s=0.0):
        return ended >= self.began and (self.until is None or began <= self.until + more_s)


def judge(run):
    """The violations of all requests, each with the time of its request."""
    found, calls = [], run.book.by_nonce()
    for request in run.load.since(0):
        why = problem_of(run, request) or doubt_of_calls(run, request, calls.get(request.nonce, []))
        if why:
            whose = f"{request.kind} of {request.client} at gateway {request.gateway + 1}"
            found.append((request.ended, f"{whose}: {why}"))
    return found


def concerned(times, request, more_s=RETURN_S):
    return any(away.concerns(request, more_s) for away in times)


def problem_of(run, request):
    """What its client may not have got, or None."""
    without_redis = concerned(run.redis_away, request)
    if concerned(run.dead, request):
        return None
    if request.status in {"scarce": (429,), "spend": (403, 429)}.get(request.kind, ()):
        return None
    if request.kind in ("turn", "look"):
        # Another gateway may have kept the turns before.
        emptied = any(away.is_emptied and away.meets(request.began - 60, request.ended, 0)
                      for away in run.redis_away)
        if request.status == 503 and without_redis or request.status == 404 and emptied:
            return None
    if not request.is_answered:
        is_excused = concerned(run.upstream_away, request)
        is_stream = request.kind == "stream" and request.status == 200
        # A chat that was to be answered at once has an error of the legacy application.
        statuses = UNREACHABLE + ((500,) if request.kind == "chat" else ())
        if is_excused and (request.status in statuses or is_stream):
            return None
        return f"{request.status} {request.problem}"
    if request.kind in ("responses", "turn") and not request.is_kept and not without_redis:
        return "was not kept although Redis was there"
    if request.kind == "chat" and request.job is None and not without_redis:
        return "was answered at once although there was a queue"
    return None


def doubt_of_calls(run, request, calls):
    """Whether its model was called more often than it should have been, or None."""
    if not request.is_answered or request.kind == "look":
        return None
    if request.kind == "chat":
        return doubt_of_job(run, request, calls) if request.job else late_call(request, calls)
    if not calls:
        return "was answered although no model was called"
    if concerned(run.upstream_away, request):
        # Several attempts, one of which may reach the model when the network is back.
        return None
    return f"the model was called {len(calls)} times" if len(calls) > 1 else late_call(request, calls)


def late_call(request, calls):
    late = [call.at - request.ended for call in calls if call.at > request.ended + LATE_S]
    return f"the model was called {max(late):.1f} s after the answer" if late else None


def doubt_of_job(run, request, calls):
    if request.job in run.jobs.gone or len(calls) <= 1:
        return None
    lapse = any(away.meets(request.began, max(call.at for call in calls), RETURN_S)
                for away in run.claims_lapse + run.upstream_away)
    return None if lapse else f"the job ran {len(calls)} times although its worker was well"


def tally(requests):
    """Requests by what came of them."""
    counts = Counter()
    for request in requests:
        if request.is_answered:
            counts["answered"] += 1
        elif request.status in (403, 429):
            counts["refused"] += 1
        elif request.status:
            counts["failed"] += 1
        else:
            counts["broken"] += 1
    return counts
