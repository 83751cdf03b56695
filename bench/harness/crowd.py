"""The row of many streams at once: how many of their events come late, and whether memory stays flat.

Upstream, load generators and gateway share the machine. So a ramp first finds how many such streams the
machine carries without the gateway, and how many with it. The goal counts for the streams that were asked
for; if the machine does not carry them even without the gateway, it is not shown.
"""

import sys
import threading
import time

from . import workloads
from .processes import client_files, cores
from .rounds import Side
from .table import Result

EVENTS_A_SECOND = 20
# The upstream's timer adds up to one to it.
INTERVAL_MS = 49
LATE_MS = 20
# Percent of the events that may be late, and of memory that may be added in a minute.
LATE_GOAL, GROWTH_GOAL = 0.1, 0.5
# Seconds that a stream lasts in a long run.
STREAM_S = 30
# Streams are carried if so much of their events come at all: an upstream that is out of breath sends fewer.
SHARE_OF_EVENTS = 0.95
# Steps of the ramp, as shares of the streams that were asked for.
STEPS = [1, 3 / 4, 1 / 2, 3 / 8, 1 / 4, 1 / 8, 1 / 16]


class Seen:
    """What a number of streams showed while all of them were open."""

    def __init__(self, streams, seconds):
        frames = sum(second[0] for second in seconds)
        self.streams = streams
        self.late = 100 * sum(second[1] for second in seconds) / max(frames, 1)
        self.longest_ms = max((second[2] for second in seconds), default=0) / 1000
        self.pace = frames / max(len(seconds), 1) / streams

    def is_carried(self):
        return self.late < LATE_GOAL and self.pace >= SHARE_OF_EVENTS * EVENTS_A_SECOND

    def __str__(self):
        return (f"{self.late:.3f} % late, the longest by {self.longest_ms:.0f} ms, "
                f"{self.pace:.1f} events a second in each stream")


class Memory:
    """Samples a process's memory while `with` lasts."""

    def __init__(self, process):
        self.process, self.samples, self.ends = process, [], threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.ends.wait(1):
            self.samples.append((time.monotonic(), self.process.memory_kib()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()

    def growth(self, after, seconds):
        """Percent a minute, by a straight line through the samples of a span that begins so long after the first."""
        begin = self.samples[0][0] + after
        span = [(at, kib) for at, kib in self.samples if begin <= at <= begin + seconds]
        mean_at, mean = (sum(column) / len(span) for column in zip(*span))
        slope = sum((at - mean_at) * (kib - mean) for at, kib in span) / sum(
            (at - mean_at) ** 2 for at, _ in span)
        return 6000 * slope / mean, mean / 1024


def many_streams(scene):
    """Late events and memory, through the gateway and on the upstream directly."""
    settings = scene.settings
    possible = (client_files(settings.open_files) - 200) // 2
    if settings.streams > possible:
        raise SystemExit(f"the limit of open files allows {possible} streams: raise it, or give --streams")
    begin_s, try_s, long_s = (1, 3, 5) if settings.short else (5, 10, 300)
    share = max(1, cores() // 4)
    scene.put_up_upstream("--frame-interval-ms", INTERVAL_MS, "--threads", share)
    gateway = Side("gateway", scene.plain_gateway(), workloads.bearer())
    direct = Side("direct", scene.upstream, workloads.bearer())
    tried = {side.name: ramp(scene, side, settings.streams, begin_s, try_s, share)
             for side in (direct, gateway)}
    most = {name: max((seen.streams for seen in all if seen.is_carried()), default=0)
            for name, all in tried.items()}
    wanted = settings.streams
    lines = []
    if most["gateway"] != wanted:
        lines.append(late(wanted, f"for {try_s} s", tried["gateway"][0], tried["direct"][0],
                          "" if most["direct"] == wanted else
                          f"the machine carries {most['direct']} streams without the gateway"))
    if most["gateway"]:
        # The starts of streams are spread over the length of one, so that as many end in any second.
        spread = begin_s if settings.short else STREAM_S
        alone = run(scene, direct, most["gateway"], spread, min(long_s, 60), share)
        with Memory(gateway.process) as memory:
            seen = run(scene, gateway, most["gateway"], spread, long_s, share)
        growth, mean = memory.growth(spread, long_s)
        lines.append(late(seen.streams, f"for {long_s} s", seen, alone))
        lines.append(Result(name(seen.streams, f"for {long_s} s"), "memory that is added in a minute",
                            f"{mean:.1f} MB", "", [growth], 2, " %", at_most=GROWTH_GOAL,
                            short_of=f"{long_s} s say little" if settings.short else ""))
    settings.notes.append(
        f"Of {wanted} streams with {EVENTS_A_SECOND} events a second the machine carries "
        f"{most['direct']} without the gateway and {most['gateway']} with it: events late by more than "
        f"{LATE_MS} ms are less than {LATE_GOAL} %. Upstream, load generator and gateway share its cores.")
    return lines


def name(streams, how_long):
    return f"{streams} streams at once, {EVENTS_A_SECOND} events a second each, {how_long}"


def late(streams, how_long, seen, direct, short_of=""):
    return Result(name(streams, how_long), f"events late by more than {LATE_MS} ms", str(seen),
                  f"direct: {direct}", [seen.late], 3, " %", at_most=LATE_GOAL, short_of=short_of)


def ramp(scene, side, wanted, begin_s, seconds, share):
    """What each step showed, from all streams down to the first number that is carried."""
    tried = []
    for step in STEPS:
        tried.append(run(scene, side, max(1, int(wanted * step)), begin_s, seconds, share))
        if tried[-1].is_carried():
            break
    return tried


def run(scene, side, streams, spread, seconds, share):
    """Opens the streams within `spread` seconds and looks at those that follow."""
    # In a long run streams end and begin all the time.
    lasts = STREAM_S if seconds > STREAM_S else spread + seconds
    work = workloads.stream(streams, frames=int(EVENTS_A_SECOND * lasts))
    streams_each = -(-(spread + seconds) // lasts)
    told = scene.load.watch(side.process.port, work, side.headers, streams_each, spread, LATE_MS, share)
    seen = Seen(streams, told[spread:spread + seconds])
    print(f"{streams} streams: {side.name}: {seen}", file=sys.stderr)
    return seen
