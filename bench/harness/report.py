"""What a run prints: one piece of Markdown, which goes into docs/performance.md as it is."""

import datetime
import os
import pathlib
import platform
import shlex
import subprocess
import sys

from . import binaries, table


def markdown(settings, results, load_before, took_s):
    """The command, the machine, the table, and what else the rows have to say."""
    command = shlex.join(["bench/run", *sys.argv[1:]])
    return "\n".join([
        f"`{command}` on {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}, commit {commit()}, "
        f"{settings.workers} cores ({processor()}), as many workers, Linux {platform.release()}:",
        "",
        table.markdown(results),
        "",
        f"The figures are medians (lowest to highest) of {settings.rounds} rounds.",
        "Ratios and differences are taken within each round.",
        f"The load average was {load_before:.1f} before and {os.getloadavg()[0]:.1f} after; "
        f"the run took {took_s / 60:.0f} minutes.",
        *(["", *(f"- {note}" for note in settings.notes)] if settings.notes else []),
    ])


def commit():
    """The last commit, and whether files differ from it."""
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=binaries.ROOT,
                          capture_output=True, text=True)
    return told.stdout.strip() or "unknown"


def processor():
    """The name of the first processor."""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(": ", 1)[1]
    return platform.machine()
