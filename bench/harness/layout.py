"""The layout of the binary: finds the functions that run, and names them for the linker.

The linker knows functions by mangled names, which end with a hash that is another in each version of the
compiler or of a library. So a pattern has no hash, and it ends early where all that it then takes in is
wanted as well. Functions of one name with different types can't be told apart: all are taken, or none.
"""

import argparse
import bisect
import collections
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from . import binaries, rows, workloads
from .callgrind import ADDRESSES, Settings, build, by_address, counted, dump
from .load import Load
from .scene import Scene

OUT = binaries.ROOT / "layout.ld"
REQUESTS, STREAMS, FRAMES = 1000, 20, 50
# The kernel maps so many bytes around a page that is touched: a function that is left out costs them.
WINDOW = 1 << 16
HEAD = """\
/* Which functions lie side by side in the binary: those that requests run, then those that run at start.
   The system maps the program in pieces of 64 KiB and more, so an idle process has few of them in memory.
   Written by bench/layout. A pattern for a function that is gone does no harm. */
"""
# The compiler puts what did not run while the profile was counted into a section of its own, and gives it a name.
SPLIT, COLD = ".text.split", ".cold"


def run(settings, folder, binary, symbols):
    """The functions that run at start, and those that run for each request or frame."""
    load = Load(settings.binaries["load"], folder)

    def own(process, part):
        return symbols.sums(by_address(dump(folder, process, part), process, binary))

    with Scene(settings, load, folder) as scene:
        process, _ = rows.start_default(scene, settings.binaries["sluice"])
        time.sleep(5)
        start = set(own(process, 1))
    requests = set()
    small = workloads.invoke(1024, "1 KB")
    small.connections = 1
    for upstream, work, count in [([], small, REQUESTS),
                                  (["--frames", FRAMES], workloads.stream(1, FRAMES), STREAMS)]:
        with Scene(settings, load, folder) as scene:
            scene.put_up_upstream(*upstream)
            gateway = scene.plain_gateway()
            load.drive(gateway.port, work, rows.HERE, count)
            start |= set(own(gateway, 1))
            load.drive(gateway.port, work, rows.HERE, count)
            requests |= {name for name, cost in own(gateway, 2).items() if cost >= count}
    return start, requests


def plain(name):
    """A mangled name as a pattern without hashes."""
    name = re.sub(r"17h[0-9a-f]{16}E.*", "", name)
    name = re.sub(r"(\.llvm)?\.\d+$", "", name)
    if name.startswith("_R"):
        name = re.sub(r"B[0-9A-Za-z]*_", "B*_", re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", name))
    return re.sub(r"aws_lc_\d+_\d+_\d+_", "aws_lc_*_", name)


def ends(name):
    """Where a pattern may end: after a part of the path, or after a part of a type in it."""
    found, at = [], 3
    while name.startswith("_ZN") and (match := re.compile(r"\d+").match(name, at)):
        at = match.end() + int(match[0])
        part = name[match.end():at]
        found += [match.end() + end.end() for end in re.finditer(r"\.\.|\$GT\$|\$u20\$", part)]
        found.append(at)
    return sorted({*filter(lambda end: end < len(name), found), len(name)})


class Symbols:
    """The functions of a binary, and the parts of functions that are split off."""

    def __init__(self, binary):
        listed = subprocess.run(["nm", "--print-size", binary], stdout=subprocess.PIPE, check=True,
                                text=True).stdout
        fields = [line.split() for line in listed.splitlines()]
        self.all = sorted((int(at, 16), int(size, 16), name)
                          for at, size, kind, name in (it for it in fields if len(it) == 4)
                          if kind in "tTwW")
        self.starts = [at for at, _, _ in self.all]

    def sums(self, own):
        """Own instructions of each function, from those at each address."""
        found = collections.Counter()
        for address, cost in own.items():
            index = bisect.bisect_right(self.starts, address) - 1
            at, size, name = self.all[index] if index >= 0 else (0, 0, "")
            if at <= address < at + size:
                found[name] += cost
        return found


class Names:
    """The functions of a binary by their names, with their sizes; or those parts that are split off."""

    def __init__(self, symbols, cold=False):
        self.all = sorted((plain(name.removesuffix(COLD)), size, name) for _, size, name in symbols.all
                          if name.endswith(COLD) == cold)
        self.names = [name for name, _, _ in self.all]

    def patterns(self, wanted, share, bytes_beside, most_beside):
        """Patterns of what is wanted, and the bytes of what they match.

        A pattern ends early if it takes in at most this share of other functions, or so many bytes. A
        whole name is left out if it stands for more than `most_beside` bytes for each wanted function.
        """
        sizes, hits, numbers = [0], [0], [0]
        for _, size, name in self.all:
            hit = name in wanted
            sizes.append(sizes[-1] + size)
            hits.append(hits[-1] + size * hit)
            numbers.append(numbers[-1] + hit)

        def of(pattern):
            low = bisect.bisect_left(self.names, pattern)
            high = bisect.bisect_left(self.names, pattern + "\x7f")
            return [sums[high] - sums[low] for sums in (sizes, hits, numbers)]

        found = []
        for name in sorted({name for name, _, whole in self.all if whole in wanted}):
            if any(name.startswith(pattern) for pattern in found):
                continue
            for end in ends(name):
                size, hit, number = of(name[:end])
                beside = size - hit
                early = beside <= max(hit * share, bytes_beside)
                if early or (end == len(name) and beside <= number * most_beside):
                    found = [it for it in found if not it.startswith(name[:end])] + [name[:end]]
                    break
        return sorted(found), sum(of(pattern)[0] for pattern in found)


def section(name, patterns, of=".text"):
    # What the compiler takes for unlikely has it in the names of its sections. C has no mangled names.
    lines = "".join(f"    {of}*{it}*\n" if it.startswith("_") else f"    {of}.{it}\n" for it in patterns)
    return f"  {name} : {{ *(\n{lines}  ) }}\n"


def main(about):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--binary", type=pathlib.Path, help="a gateway with symbols, instead of building one")
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is not installed")
    with tempfile.TemporaryDirectory(prefix="sluice-layout-") as folder:
        folder = pathlib.Path(folder)
        sluice, built = (args.binary.absolute(), binaries.already_built()) if args.binary else build(folder)
        symbols = Symbols(sluice)
        settings = Settings(counted(folder, sluice, more=ADDRESSES), built)
        start, requests = run(settings, folder, sluice, symbols)
    functions, split_off = Names(symbols), Names(symbols, cold=True)
    first, first_bytes = functions.patterns(requests, 0.1, 128, 2048)
    second, second_bytes = functions.patterns(start | requests, 0.25, 512, WINDOW)
    rare, rare_bytes = split_off.patterns(start | requests, 0.25, 512, WINDOW)
    # The linker takes the first place that matches.
    second = [pattern for pattern in second if pattern not in first]
    OUT.write_text(HEAD + "SECTIONS\n{\n" + section(f"{SPLIT}.start", rare, SPLIT)
                   + f"  {SPLIT} : {{ *({SPLIT}.*) }}\n" + section(".text.request", first)
                   + section(".text.start", second) + "}\nINSERT BEFORE .text;\n")
    print(f"{OUT.name}: {len(first)} patterns for requests, {first_bytes / 1e6:.2f} MB; "
          f"{len(second)} more for the start, {second_bytes / 1e6:.2f} MB in all; "
          f"{len(rare)} of parts that are split off, {rare_bytes / 1e6:.2f} MB", file=sys.stderr)
