"""The command: arguments, the rows one after the other, the report."""

import argparse
import os
import pathlib
import signal
import sys
import tempfile
import time
import traceback

from . import binaries, plan, processes, report, table
from .load import Load
from .scene import Scene


class Settings:
    """How the run is to be; what it has to say beside the table."""

    def __init__(self, args):
        self.short = args.short
        self.rounds = args.rounds or (3 if args.short else 7)
        self.seconds = 0.5 if args.short else 2
        self.streams = args.streams or (200 if args.short else 5000)
        self.workers = processes.cores()
        self.open_files = processes.raise_file_limit()
        self.binaries = binaries.already_built() if args.no_build else binaries.build()
        self.notes = []


def arguments(about):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--all", action="store_true",
                        help="the rows that take minutes each, too: " + ", ".join(plan.LONG_ROWS))
    parser.add_argument("--short", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each row (default 7, short 3)")
    parser.add_argument("--streams", type=int,
                        help="streams of the row many-streams (default 5000, short 200)")
    parser.add_argument("--only", default="", metavar="ROW",
                        help="the row of this name, or those with this text in it: "
                        + ", ".join([*plan.ROWS, *plan.LONG_ROWS]))
    parser.add_argument("--no-build", action="store_true", help="use what is built")
    return parser.parse_args()


def measure(settings, chosen):
    """The lines of the rows, and whether all were measured. A row that fails costs no other its lines."""
    results, complete = [], True
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        load = Load(settings.binaries["load"], pathlib.Path(folder))
        for name, row in chosen.items():
            print(f"== {name}", file=sys.stderr)
            try:
                with Scene(settings, load, folder) as scene:
                    results += row(scene)
            except (processes.Stopped, KeyboardInterrupt) as end:
                results.append(table.failed(name, str(end) or "interrupted"))
                return results, False
            except (Exception, SystemExit) as why:
                traceback.print_exc()
                results.append(table.failed(name, why))
                complete = False
    return results, complete


def main(about):
    args = arguments(about)
    chosen = plan.chosen(args.only, args.all)
    if not chosen:
        raise SystemExit("no row has this name")
    settings = Settings(args)
    processes.end_in_order()
    signal.alarm(plan.limit_s(chosen))
    began, before = time.monotonic(), os.getloadavg()[0]
    results, complete = measure(settings, chosen)
    took = time.monotonic() - began
    print(report.markdown(settings, results, before, took))
    if not complete:
        sys.exit("not every row was measured")
