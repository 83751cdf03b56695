"""The command: arguments, the rows one after the other, the table."""

import argparse
import os
import pathlib
import signal
import sys
import tempfile
import time
import traceback

from . import binaries, processes, rows, table
from .load import Load
from .scene import Scene

# The whole run ends here, whatever happens.
LIMIT_S = 900


class Settings:
    """How the run is to be; what it has to say beside the table."""

    def __init__(self, args):
        self.short = args.short
        self.rounds = args.rounds or (3 if args.short else 7)
        self.seconds = 0.5 if args.short else 2
        self.workers = processes.cores()
        self.open_files = processes.raise_file_limit()
        self.binaries = binaries.already_built() if args.no_build else binaries.build()
        self.notes = []


def arguments(about):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--short", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each row (default 7, short 3)")
    parser.add_argument("--only", default="", metavar="ROW",
                        help="the row of this name, or those with this text in it: " + ", ".join(rows.ROWS))
    parser.add_argument("--no-build", action="store_true", help="use what is built")
    return parser.parse_args()


class Stopped(SystemExit):
    """A signal or the time limit ends the run, not the row alone."""


def end_in_order():
    """Signals and the time limit lead through `with`, so that no process is left behind."""
    def stop(number, _):
        raise Stopped(f"stopped by signal {number}")

    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, stop)


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
            except (Stopped, KeyboardInterrupt) as end:
                results.append(table.failed(name, str(end) or "interrupted"))
                return results, False
            except (Exception, SystemExit) as why:
                traceback.print_exc()
                results.append(table.failed(name, why))
                complete = False
    return results, complete


def main(about):
    args = arguments(about)
    only = [args.only] if args.only in rows.ROWS else [n for n in rows.ROWS if args.only in n]
    chosen = {name: rows.ROWS[name] for name in only}
    if not chosen:
        raise SystemExit("no row has this name")
    settings = Settings(args)
    end_in_order()
    signal.alarm(LIMIT_S)
    began, before = time.monotonic(), os.getloadavg()[0]
    results, complete = measure(settings, chosen)
    print(table.markdown(results))
    print(f"\nMedians (lowest to highest) of {settings.rounds} rounds; ratios and differences are "
          f"taken within each round. {settings.workers} cores and as many workers, load average "
          f"{before:.1f} before and {os.getloadavg()[0]:.1f} after, "
          f"{time.monotonic() - began:.0f} s.\n")
    for note in settings.notes:
        print(f"- {note}")
    if not complete:
        sys.exit("not every row was measured")
