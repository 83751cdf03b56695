"""Memory, descriptors, threads, tasks and connections of each gateway over time, and their slopes."""

import os
import pathlib

from harness.processes import status

from .metrics import Metrics

# How much a line through the samples may rise over the time that it is drawn through. Less is the noise of the
# allocator, or of small numbers that load moves up and down. A task that stays is found at the end, too: then there
# must be as many as before the first request.
LIMITS = {"resident, KiB": 2048, "anonymous, KiB": 2048, "descriptors": 2, "threads": 2, "tasks": 2,
          "client connections": 1, "upstream connections": 3, "requests in flight": 3}
# Buffers, caches and threads come with load for some minutes, so that a short run sees more of that than of leaks.
SHORT_MINUTES = 20
SHORT_LIMITS = LIMITS | {"resident, KiB": 6144, "anonymous, KiB": 6144, "descriptors": 5, "threads": 5, "tasks": 3}


def sample(gateway):
    metrics = Metrics(gateway)
    return {
        "resident, KiB": status(gateway.pid, "VmRSS"),
        "anonymous, KiB": status(gateway.pid, "RssAnon"),
        "descriptors": len(os.listdir(f"/proc/{gateway.pid}/fd")),
        "threads": len(list(pathlib.Path(f"/proc/{gateway.pid}/task").iterdir())),
        "tasks": metrics.sum("sluice_tasks"),
        "client connections": metrics.sum("sluice_connections"),
        "upstream connections": metrics.sum("sluice_upstream_connections"),
        "requests in flight": metrics.sum("sluice_in_flight_requests"),
    }


class Line:
    """A straight line through samples, by least squares."""

    def __init__(self, points):
        self.first, self.last = points[0][1], points[-1][1]
        self.low, self.high = min(y for _, y in points), max(y for _, y in points)
        count = len(points)
        mean_x = sum(x for x, _ in points) / count
        mean_y = sum(y for _, y in points) / count
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
        self.per_hour = slope * 3600
        # Over the time that it is drawn through.
        self.rise = slope * (points[-1][0] - points[0][0])


def lines(samples, from_second):
    """The line of each measure, through (second, sample) from this second on."""
    warm = [(second, values) for second, values in samples if second >= from_second]
    return {measure: Line([(second, values[measure]) for second, values in warm]) for measure in LIMITS}


def limits(minutes):
    """The limits of a run of so many minutes."""
    return LIMITS if minutes >= SHORT_MINUTES else SHORT_LIMITS
