"""What each open descriptor of a process is, by /proc: names that are equal for equal things."""

import contextlib
import os
import pathlib
import re
from collections import Counter


def names(pid, ports):
    """How often the process has each thing open. `ports` names the ports of the run."""
    known = {port: name for name, port in ports.items()}
    sockets = tcp(pid, known) | unix(pid)
    found = Counter()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/{pid}/fd/{number}")
            found[name(target, sockets)] += 1
    return found


def name(target, sockets):
    inode = re.fullmatch(r"socket:\[(\d+)\]", target)
    if inode:
        return sockets.get(inode[1], "another socket")
    if target.startswith("pipe:"):
        return "pipe"
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:").strip("[]")
    return "file " + pathlib.Path(target.removesuffix(" (deleted)")).name + (
        " (deleted)" if target.endswith(" (deleted)") else "")


def tcp(pid, known):
    """Sockets by inode: `listens: NAME`, `from a client: NAME`, `to NAME`."""
    found = {}
    for file in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/{pid}/net/{file}").read_text().splitlines()[1:]:
            words = line.split()
            local, remote = (int(words[at].rsplit(":", 1)[1], 16) for at in (1, 2))
            if words[3] == "0A":
                kind = f"listens: {known.get(local, 'another port')}"
            elif local in known:
                kind = f"from a client: {known[local]}"
            else:
                kind = f"to {known.get(remote, 'another port')}"
            found[words[9]] = "socket " + kind
    return found


def unix(pid):
    lines = pathlib.Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]
    return {line.split()[6]: "unix socket" for line in lines}


def change(before, after):
    """What there is more (or, below zero, less) of than before."""
    kinds = sorted(set(before) | set(after))
    return {kind: after[kind] - before[kind] for kind in kinds if after[kind] != before[kind]}
