"""Counts the instructions of each function of the gateway, by valgrind's callgrind.

Unlike times, they are the same in each run, whatever else the machine does.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

from . import binaries, processes


class Settings:
    """Of a run that counts instructions: one round, one worker."""

    def __init__(self, sluice, built):
        self.short, self.rounds, self.seconds = True, 1, 1
        self.workers, self.open_files = 1, processes.raise_file_limit()
        self.binaries, self.notes = built | {"sluice": sluice}, []


def build(folder):
    """The binary with its symbols, and what puts it under load."""
    command = ["cargo", "rustc", "--profile", "dist", "--bin", "sluice", "--message-format", "json",
               "--", "-C", "strip=none"]
    built = subprocess.run(command, cwd=binaries.ROOT, stdout=subprocess.PIPE, check=True, text=True,
                           env=os.environ | binaries.AS_RELEASED)
    found = [json.loads(line).get("executable") for line in built.stdout.splitlines()]
    sluice = folder / "sluice-with-symbols"
    shutil.copy(next(filter(None, found)), sluice)
    return sluice, binaries.cargo(["--example", "bare_proxy", "--example", "fixed_upstream", "--example", "load"])


# The first-level caches of a server's core, and its second-level one.
CACHES = "--cache-sim=yes --I1=32768,8,64 --D1=49152,12,64 --LL=2097152,16,64"


def counted(folder, binary, demangle="no", more=""):
    """A command that runs the binary and counts the instructions of each of its functions."""
    # The binary may lie in this folder, too.
    command = folder / f"counted-{binary.name}"
    # Without the variable the process would start once more, and no longer be counted.
    command.write_text(f"""\
#!/bin/sh
GLIBC_TUNABLES=glibc.malloc.mmap_threshold=131072 exec valgrind --quiet --tool=callgrind \\
  --demangle={demangle} {more} --callgrind-out-file={folder}/%p.out {binary} "$@"
""")
    command.chmod(0o755)
    return command


def dump(folder, process, part):
    """What callgrind has counted since the last part."""
    pid = process.popen.pid
    subprocess.run(["callgrind_control", "--dump", str(pid)], stdout=subprocess.DEVNULL, check=True)
    path = folder / f"{pid}.out.{part}"
    for _ in range(200):
        with contextlib.suppress(OSError):
            if "totals:" in path.read_text():
                return path.read_text()
        time.sleep(0.1)
    raise SystemExit(f"callgrind did not write {path.name}")


def read(text):
    """Own instructions by function. Source: Callgrind's manual, "Callgrind Format Specification"."""
    names, own = {}, collections.Counter()
    current, of_call = None, False
    for line in text.splitlines():
        if match := re.match(r"(c?fn)=\((\d+)\)(?: (.*))?", line):
            kind, number, name = match.groups()
            if name:
                names[number] = name.split("'")[0]
            if kind == "fn":
                current = names[number]
        elif line.startswith("calls="):
            of_call = True
        elif current and line[:1] in tuple("0123456789+-*"):
            if not of_call:
                own[current] += int(line.split()[1])
            of_call = False
    return own


# Has callgrind write the address of each instruction.
ADDRESSES = "--dump-instr=yes"


def by_address(text, process, binary):
    """Own instructions at each address of the binary, of a process that still runs.

    callgrind takes sections but `.text` for another object, which has no name and the addresses of the memory.
    """
    maps = pathlib.Path(f"/proc/{process.popen.pid}/maps").read_text().splitlines()
    loaded_at = min(int(line.split("-")[0], 16) for line in maps if line.endswith(str(binary)))
    bases = {str(binary): 0, "???": loaded_at}
    names, own = {}, collections.Counter()
    base, address, of_call = None, 0, False
    for line in text.splitlines():
        if match := re.match(r"(c?ob)=\((\d+)\)(?: (.*))?", line):
            kind, number, name = match.groups()
            if name:
                names[number] = name
            if kind == "ob":
                base = bases.get(names[number])
        elif line.startswith("calls="):
            of_call = True
        elif line[:1] in tuple("0123456789+-*"):
            place, _, cost = line.split()[:3]
            if place.startswith("0x"):
                address = int(place, 16)
            elif place != "*":
                address += int(place)
            if not of_call and base is not None:
                own[address - base] += int(cost)
            of_call = False
    return own


def totals(text):
    """How often each event occurred: `Ir` are instructions, `I1mr` and so on misses of a cache."""
    lines = dict(line.split(":", 1) for line in text.splitlines() if line.startswith(("events:", "totals:")))
    return dict(zip(lines["events"].split(), map(int, lines["totals"].split())))
