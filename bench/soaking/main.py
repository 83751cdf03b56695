"""The command: arguments, one run, the verdict."""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import threading
import time

from harness.processes import end_in_order

from . import books, configs, descriptors, jobs, load, report, samples
from .disturbance import Disturbance
from .ledger import Ledger
from .metrics import Metrics
from .stage import Stage, fetch

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Open, waiting or held: nothing of it may be left when there are no requests.
GAUGES = ["sluice_connections", "sluice_in_flight_requests", "sluice_in_flight_bytes", "sluice_queue_waiting",
          "sluice_queue_waiting_bytes", "sluice_jobs", "sluice_upstream_connections"]
# The last jobs have answers to wait for, and leases of a fleet lapse.
QUIET_S = 180
SAMPLE_S, LOOK_S = 5, 3


def arguments(about):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--threads", type=int, default=12, help="clients (default 12)")
    parser.add_argument("--rate", type=float, default=50, help="requests a second of all clients (default 50)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-build", action="store_true", help="use target/dist/sluice as it is")
    parser.add_argument("--binary", type=pathlib.Path, help="the gateway, instead of target/dist/sluice")
    parser.add_argument("--simulator", type=pathlib.Path, help="the binary of the simulator, if it is another one")
    parser.add_argument("--keep", type=pathlib.Path, metavar="FOLDER", help="leaves logs and configs there")
    args = parser.parse_args()
    if args.binary is None:
        if not args.no_build:
            subprocess.run(["cargo", "build", "--profile", "dist", "--locked"], cwd=ROOT, check=True)
        args.binary = ROOT / "target/dist/sluice"
    args.simulator = args.simulator or args.binary
    return args


class Run:
    """One run, and all that the report tells of it."""

    def __init__(self, args, stage):
        self.args, self.stage = args, stage
        self.command = "bench/soak " + shlex.join(sys.argv[1:])
        self.clients, self.jobs, self.ledger = load.ClientBook(), jobs.JobBook(), Ledger(stage)
        self.usage_logs = [books.UsageLog(gateway) for gateway in stage.gateways]
        self.disturbance = Disturbance(args, stage, self.clients)
        self.samples = {gateway.name: [] for gateway in stage.gateways}
        self.stop = threading.Event()

    def go(self):
        before = {gateway.name: self.open(gateway) for gateway in self.stage.gateways}
        cpu = self.cpu_s()
        threads = load.start(self.args, self.stage.gateways, self.clients, self.stop)
        caller = jobs.Caller("legacy", self.args.seed, self.stage.gateways, self.args.rate / 12, self.clients,
                             self.stop, self.jobs)
        caller.start()
        threads.append(caller)
        try:
            self.steady(threads)
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
        self.disturbance.finish()
        self.cpu_share = (self.cpu_s() - cpu) / (self.args.minutes * 60)
        caller.finish()
        self.left = self.until_quiet()
        after = {gateway.name: self.open(gateway) for gateway in self.stage.gateways}
        self.descriptors = {name: (before[name][0], after[name][0]) for name in before}
        self.tasks = {name: (before[name][1], after[name][1]) for name in before}
        self.sum_up()

    def steady(self, threads):
        began = time.monotonic()
        next_sample = next_look = 0
        while (second := time.monotonic() - began) < self.args.minutes * 60:
            self.disturbance.run_due(second)
            if second >= next_sample:
                next_sample += SAMPLE_S
                for gateway in self.stage.gateways:
                    if gateway.has_ended():
                        raise SystemExit(f"the gateway {gateway.name} has ended: {gateway.own_log.read_text()[-2000:]}")
                    self.samples[gateway.name].append((second, samples.sample(gateway)))
                self.tell(second)
            if second >= next_look:
                next_look += LOOK_S
                self.ledger.look()
                for log in self.usage_logs:
                    log.look()
            for thread in threads:
                if thread.failure is not None:
                    raise SystemExit(f"the client {thread.name} failed: {thread.failure!r}")
            time.sleep(0.2)

    def tell(self, second):
        if len(self.samples["one"]) % 12 == 1:
            last = {name: {measure: round(value) for measure, value in of[-1][1].items()}
                    for name, of in self.samples.items()}
            print(f"{second:.0f} s, {sum(self.clients.sent.values())} requests, "
                  f"{len(self.ledger.differences)} differences: {last}", file=sys.stderr, flush=True)

    def open(self, gateway):
        """Descriptors by name, and tasks."""
        return descriptors.names(gateway.pid, self.stage.ports), int(Metrics(gateway).sum("sluice_tasks"))

    def cpu_s(self):
        """CPU time of this process, the gateways and the simulator; that of Redis ends with each restart."""
        parts = [self.stage.simulator, *(it.process for it in self.stage.gateways)]
        return time.process_time() + sum(part.cpu_ns() for part in parts) / 1e9

    def until_quiet(self):
        """What is still open when nothing more is to come; empty if all was closed."""
        for _ in range(QUIET_S):
            left = {}
            for gateway in self.stage.gateways:
                left |= self.still_open(gateway)
            if not left:
                return left
            time.sleep(1)
        return left

    def still_open(self, gateway):
        metrics, left = Metrics(gateway), {}
        for family in GAUGES:
            # The connection that asks is one.
            value = metrics.sum(family) - (family == "sluice_connections")
            if value > 0:
                left[f"{gateway.name} {family}"] = value
        for target in json.loads(fetch(gateway.admin, "/admin/targets"))["targets"]:
            if target["quota"]["in_flight"]:
                left[f"{gateway.name}, in flight at {target['name']}"] = target["quota"]["in_flight"]
        return left

    def sum_up(self):
        # The last lines are written within milliseconds.
        time.sleep(2)
        self.ledger.look()
        for log in self.usage_logs:
            log.finish()
        quarter = self.args.minutes * 15
        self.lines = {name: samples.lines(of, quarter) for name, of in self.samples.items()}
        self.sampled = sum(second >= quarter for second, _ in self.samples["one"])
        self.checks = books.compare(self.stage, self.clients, self.jobs, self.ledger, self.usage_logs)


def main(about):
    args = arguments(about)
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="sluice-soak-") as temporary:
        folder = (args.keep or pathlib.Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        with Stage(args, folder) as stage:
            run = Run(args, stage)
            run.go()
            text, wrong = report.markdown(run)
            print(text)
    sys.exit(1 if wrong else 0)
