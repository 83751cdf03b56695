"""The command: arguments, and the scenarios one after the other."""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from . import load, scenarios
from .books import Book
from .fleet import GATEWAYS, Fleet
from .jobs import Jobs
from .judge import Away
from .network import NotHere
from .report import report

ROOT = pathlib.Path(__file__).resolve().parents[3]
# The exit code of a run that this machine can't make: neither success nor a violation.
NOT_RUN = 3
# The whole run ends here, whatever happens.
LIMIT_S = 480


class Run:
    """One run: the fleet, its load, and what was away of whom and when."""

    def __init__(self, fleet):
        self.fleet, self.network = fleet, fleet.network
        self.load = load.Load()
        self.jobs = Jobs(self.load)
        self.book = Book()
        self.scenarios = []
        self.redis_away, self.upstream_away, self.dead, self.claims_lapse = [], [], [], []
        # Gateways that were killed, each with its time.
        self.killed = []
        self.watching = threading.Event()
        self.watcher = threading.Thread(target=self.watch_jobs, daemon=True)

    def say(self, text):
        print(f"== {text}", file=sys.stderr, flush=True)

    def event(self, after=None):
        """An event that ends a worker, by itself after so many seconds."""
        event = threading.Event()
        if after is not None:
            timer = threading.Timer(after, event.set)
            timer.daemon = True
            timer.start()
        return event

    def without_redis(self, gateways):
        """Notes that these gateways have no Redis from now on."""
        away = [Away(gateway, time.monotonic(), None) for gateway in gateways]
        self.redis_away += away
        return away[0] if len(away) == 1 else All(away)

    def watch_jobs(self):
        gateway = 0
        while not self.watching.wait(0.5):
            self.jobs.look(gateway)
            gateway = (gateway + 1) % len(GATEWAYS)

    def start(self):
        self.network.weather(**scenarios.LAN)
        self.fleet.start()
        self.book.start()
        for gateway in range(len(GATEWAYS)):
            load.open_session(gateway)
        self.load.start()
        self.watcher.start()
        time.sleep(3)

    def quiet(self):
        """Ends the load, and waits for what is under way."""
        self.load.stop()
        self.watching.set()
        self.watcher.join()
        # Once more for all, after everything that has happened.
        self.jobs.settled.clear()
        self.jobs.settle()
        # Spending is written at once, and read by the others after a flush.
        time.sleep(3)

    def stop(self):
        self.load.stopped.set()
        self.watching.set()
        self.book.stopped.set()


class All:
    """Several `Away` as one."""

    def __init__(self, each):
        self.each, self.began = each, each[0].began

    def __setattr__(self, name, value):
        if name in ("until", "is_emptied"):
            for away in self.each:
                setattr(away, name, value)
        else:
            object.__setattr__(self, name, value)


def sluice(path):
    """The gateway under test."""
    if path:
        return pathlib.Path(path).resolve()
    binary = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "sluice"
    subprocess.run(["cargo", "build", "--locked", "--bin", "sluice"], cwd=ROOT, check=True)
    return binary.resolve()


def arguments(about):
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="three scenarios, in about a minute")
    parser.add_argument("--only", default="", metavar="NAME",
                        help="the scenarios with this text in their name: "
                        + ", ".join(it.__name__ for it in scenarios.ALL))
    parser.add_argument("--seed", type=int, default=1, help="of the dice of the links (default 1)")
    parser.add_argument("--sluice", metavar="BINARY",
                        help="the gateway; the debug build of this folder if left out")
    parser.add_argument("--keep", metavar="FOLDER", help="leaves logs, configs and records there")
    return parser.parse_args()


def end_in_order():
    def stop(number, _):
        raise SystemExit(f"stopped by signal {number}")

    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, stop)


def main(about):
    args = arguments(about)
    lacking = [name for name in ("redis-server", "redis-cli") if not shutil.which(name)]
    if os.geteuid() != 0 or lacking:
        why = f"{', '.join(lacking)} is not installed" if lacking else "it needs root, for network namespaces"
        print(f"NOT RUN: {why}", file=sys.stderr)
        sys.exit(NOT_RUN)
    binary = sluice(args.sluice)
    chosen = [it for it in (scenarios.SHORT if args.short else scenarios.ALL) if args.only in it.__name__]
    if not chosen:
        raise SystemExit("no scenario has this name")
    end_in_order()
    signal.alarm(LIMIT_S)
    with tempfile.TemporaryDirectory(prefix="sluice-chaos-") as temporary:
        folder = pathlib.Path(args.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise SystemExit(f"{folder} is not empty: records of another run would count")
        try:
            fleet = Fleet(binary, folder, args.seed)
        except NotHere as why:
            print(f"NOT RUN: {why}", file=sys.stderr)
            sys.exit(NOT_RUN)
        run = Run(fleet)
        began = time.monotonic()
        try:
            run.start()
            for scenario in chosen:
                scenario(run)
                fleet.check()
            run.quiet()
            violations = report(run, args.seed, time.monotonic() - began)
        finally:
            run.stop()
            fleet.stop()
    sys.exit(1 if violations else 0)
