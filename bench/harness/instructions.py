"""The instructions that a request of 1 KB takes in the gateway, and in which functions, and how much of its code and
data is not in the first-level caches when it is needed.

Sums of budgets are kept in memory here: writes to their file come by time, and time is long under valgrind.
"""

import argparse
import pathlib
import shutil
import tempfile

from . import binaries, callgrind, configs, rows, workloads
from .load import Load
from .scene import Scene

WARM_UP, REQUESTS = 200, 1000
# valgrind does not offer the processor's SHA instructions, so hashes count far too much.
HASHES = ("sha256_block",)
EVERYTHING = "everything on"


def gateway_with(clients):
    return lambda scene: scene.gateway("the gateway", configs.MODELS, clients)


SIDES = {
    "a client with limits": gateway_with(configs.bearer_clients(1)),
    EVERYTHING: gateway_with(configs.client_with_budgets(None)),
    "bare proxy": lambda scene: scene.bare_proxy(),
}


class Counts:
    """Of a request: own instructions of each function, and lines that were not in a first-level cache."""

    def __init__(self, text):
        self.own = {name: cost / REQUESTS for name, cost in callgrind.read(text).items()}
        events = callgrind.totals(text)
        self.code_lines = events["I1mr"] / REQUESTS
        self.data_lines = (events["D1mr"] + events["D1mw"]) / REQUESTS
        self.hashes = sum(cost for of, cost in self.own.items() if any(word in of for word in HASHES))


def count(settings, folder, put_up):
    load = Load(settings.binaries["load"], folder)
    work = workloads.invoke(1024, "1 KB")
    work.connections = 4
    with Scene(settings, load, folder) as scene:
        scene.put_up_upstream()
        side = put_up(scene)
        load.drive(side.port, work, rows.HERE, WARM_UP)
        callgrind.dump(folder, side, 1)
        load.drive(side.port, work, rows.HERE, REQUESTS)
        return Counts(callgrind.dump(folder, side, 2))


def main(about):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--binary", type=pathlib.Path, help="count this one instead of building one")
    parser.add_argument("--top", type=int, default=30, help="functions to show (default 30)")
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is not installed")
    with tempfile.TemporaryDirectory(prefix="sluice-instructions-") as folder:
        folder = pathlib.Path(folder)
        if args.binary:
            sluice, built = args.binary.absolute(), binaries.already_built()
        else:
            sluice, built = callgrind.build(folder)
        counted = {name: callgrind.counted(folder, binary, "yes", callgrind.CACHES)
                   for name, binary in {"sluice": sluice, "bare_proxy": built["bare_proxy"]}.items()}
        settings = callgrind.Settings(counted["sluice"], built | counted)
        counts = {name: count(settings, folder, put_up) for name, put_up in SIDES.items()}
    print("| side | instructions of a request | of them for hashes | the rest | lines of code that were not in "
          "the first-level cache | lines of data |\n" + "|" + " --- |" * 6)
    for name, its in counts.items():
        total = sum(its.own.values())
        print(f"| {name} | {total:.0f} | {its.hashes:.0f} | {total - its.hashes:.0f} | {its.code_lines:.0f} | "
              f"{its.data_lines:.0f} |")
    print(f"\n| function, {EVERYTHING} | instructions |\n| --- | --- |")
    full = sorted(counts[EVERYTHING].own.items(), key=lambda it: -it[1])
    for name, cost in full[:args.top]:
        print(f"| `{name}` | {cost:.0f} |")
