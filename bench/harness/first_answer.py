"""The row of the first answer: from a clone until the demo has answered, as README says it.

The clone is of this repository's last commit, from this disk, and builds everything: its target folder is
empty. What cargo has downloaded before is used, so the network takes no part.
"""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time

from . import binaries
from .processes import cores, die_with_parent
from .table import Result

GOAL_MINUTES, LIMIT_S = 4, 1800
# The demo's line of an answered request, in its access log.
ANSWERED = re.compile(r"^200 success ")


def first_answer(scene):
    """Minutes until the first answer, and what of them is the build."""
    command = first_command((binaries.ROOT / "README.md").read_text())
    with tempfile.TemporaryDirectory(prefix="sluice-clone-") as folder:
        began = time.monotonic()
        clone = pathlib.Path(folder) / "sluice"
        subprocess.run(["git", "clone", "--quiet", binaries.ROOT, clone], check=True)
        serves, answers = run(f"{command} --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", clone)
    scene.settings.notes.append(
        f"`{command}` in a new clone: it served after {serves - began:.0f} s and had answered after "
        f"{answers - began:.1f} s. Packages were downloaded before.")
    return [Result(f"clone, then `{command}`, {cores()} cores", "time to the first answer",
                   f"{answers - began:.0f} s", f"build: {serves - began:.0f} s",
                   [(answers - began) / 60], 2, " minutes", at_most=GOAL_MINUTES)]


def first_command(readme):
    """The first command of README that needs nothing but Rust."""
    found = re.search(r"^cargo run .*$", readme, re.MULTILINE)
    if not found:
        raise SystemExit("README has no command that begins with `cargo run`")
    return found.group()


def run(command, folder):
    """When its first line came, and when its first answer; ends it and all that it started."""
    env = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
    demo = subprocess.Popen(command.split(), cwd=folder, env=env, text=True, start_new_session=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
    # Whatever happens to the build, the wait for its lines ends.
    limit = threading.Timer(LIMIT_S, end, [demo])
    limit.start()
    try:
        serves = None
        for line in demo.stdout:
            serves = serves or time.monotonic()
            if ANSWERED.match(line):
                return serves, time.monotonic()
        raise SystemExit(f"`{command}` ended with {demo.wait()} before it answered")
    finally:
        limit.cancel()
        end(demo)
        demo.wait()


def end(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
