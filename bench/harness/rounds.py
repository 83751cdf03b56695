"""Several sides under one workload, in interleaved rounds."""

import sys

from .load import check_unchanged


class Side:
    """Something that answers: its process, how clients show who they are, its own workload if any."""

    def __init__(self, name, process, headers, workload=None, generators=None):
        self.name, self.process, self.headers = name, process, headers
        self.workload, self.generators = workload, generators
        self.requests = 0


class Sample:
    """One side in one round."""

    def __init__(self, cpu_us, told):
        # CPU time for a request or frame, in microseconds; the load generator's own words.
        self.cpu_us, self.told = cpu_us, told
        self.rate = told["requests"] / told["seconds"]


class Rounds:
    """How long and how often: `seconds` for a side in a round, `count` rounds."""

    def __init__(self, load, upstream, count, seconds):
        self.load, self.upstream, self.count, self.seconds = load, upstream, count, seconds

    def run(self, workload, sides, rate=None):
        """Samples of each side, by its name. Sides take turns; the order changes in each round."""
        sizes = {side.name: self.warm_up(workload, side, rate) for side in sides}
        samples = {side.name: [] for side in sides}
        for number in range(self.count):
            at = number % len(sides)
            order = sides[at:] + sides[:at]
            for side in order if number % 2 == 0 else reversed(order):
                samples[side.name].append(self.sample(workload, side, sizes[side.name], rate))
        return samples

    def warm_up(self, workload, side, rate):
        """Checks bytes, opens connections, and finds how many requests fill a round."""
        work = side.workload or workload
        if work.translated:
            work.check(side.process.port, side.headers)
        else:
            check_unchanged(side.process.port, work, side.headers, self.upstream.port)
        if work.frames and not rate:
            # Each connection has one stream, or as many as fill a round at the upstream's pace,
            # which its timer's steps make a little slower than told.
            self.load.drive(side.process.port, work, side.headers, work.connections)
            side.requests += 1 + work.connections
            return work.connections * max(1, round(self.seconds / (work.frames * 0.0064)))
        side.requests += 1
        slow = work.translated or len(work.body) > 100_000
        # A translating peer may be slow; if it is not, so few requests say too little of its pace.
        for few in [200, 3000] if slow else [3000]:
            few = max(2 * work.connections, few)
            few = min(few, round(rate)) if rate else few
            told = self.load.drive(side.process.port, work, side.headers, few, rate)
            side.requests += told["requests"]
            if told["seconds"] > 0.1:
                break
        pace = rate or told["requests"] / told["seconds"]
        return max(work.connections, round(pace * self.seconds))

    def sample(self, workload, side, requests, rate=None):
        work = side.workload or workload
        before = side.process.cpu_ns()
        told = self.load.drive(side.process.port, work, side.headers, requests, rate,
                               side.generators)
        used = side.process.cpu_ns() - before
        side.requests += told["requests"]
        sample = Sample(used / 1e3 / (told["requests"] * work.per), told)
        print(f"{workload.name}: {side.name}: {sample.cpu_us:.1f} µs per {work.unit}, "
              f"{sample.rate:.0f} requests/s", file=sys.stderr)
        return sample
