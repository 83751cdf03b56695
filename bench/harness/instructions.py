"""The instructions that a request of 1 KB takes in the gateway, and in which functions.

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
CONFIGS = {
    "a client with limits": lambda: configs.bearer_clients(1),
    "everything on": lambda: configs.client_with_budgets(None),
}


def count(settings, folder, clients):
    """Own instructions of each function for a request."""
    load = Load(settings.binaries["load"], folder)
    work = workloads.invoke(1024, "1 KB")
    work.connections = 4
    with Scene(settings, load, folder) as scene:
        scene.put_up_upstream()
        gateway = scene.gateway("the gateway", configs.MODELS, clients)
        load.drive(gateway.port, work, rows.HERE, WARM_UP)
        callgrind.dump(folder, gateway, 1)
        load.drive(gateway.port, work, rows.HERE, REQUESTS)
        own = callgrind.dump(folder, gateway, 2)
    return {name: cost / REQUESTS for name, cost in own.items()}


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
        settings = callgrind.Settings(callgrind.counted(folder, sluice, "yes"), built)
        counts = {name: count(settings, folder, clients()) for name, clients in CONFIGS.items()}
    print("| config | instructions of a request | of them for hashes | the rest |\n" + "|" + " --- |" * 4)
    for name, own in counts.items():
        hashes = sum(cost for of, cost in own.items() if any(word in of for word in HASHES))
        total = sum(own.values())
        print(f"| {name} | {total:.0f} | {hashes:.0f} | {total - hashes:.0f} |")
    print("\n| function, everything on | instructions |\n| --- | --- |")
    full = sorted(counts["everything on"].items(), key=lambda it: -it[1])
    for name, cost in full[:args.top]:
        print(f"| `{name}` | {cost:.0f} |")
