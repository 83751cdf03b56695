"""What is measured: built from this repository, and nginx from Debian."""

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ["bare_proxy", "fixed_upstream", "load"]
BENCH = "request_path"
OTHERS = ["--bench", BENCH, *(word for name in EXAMPLES for word in ("--example", name))]
RELEASE = ROOT / "deploy/release"


def release_flags():
    """The compiler's flags of deploy/release/binary but those for the names of folders."""
    flags = [f"-Cprofile-use={RELEASE}/sluice.profdata"]
    if platform.machine() == "x86_64":
        flags.append("-Cllvm-args=" + " ".join((RELEASE / "llvm-args").read_text().split()))
    return flags


AS_RELEASED = {"CARGO_ENCODED_RUSTFLAGS": "\x1f".join(release_flags())}


def build():
    return cargo(["--bin", "sluice"], AS_RELEASED) | cargo(OTHERS)


def cargo(targets, more_environment=None):
    """Builds these with the profile `dist`, and gives their paths by name."""
    command = ["cargo", "build", "--profile", "dist", *targets, "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True,
                           env=os.environ | (more_environment or {}))
    found = {}
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            found[message["target"]["name"]] = pathlib.Path(message["executable"])
    return found


def already_built():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "dist"
    found = {"sluice": target / "sluice"} | {name: target / "examples" / name for name in EXAMPLES}
    for name, path in found.items():
        if not path.exists():
            raise SystemExit(f"{name} is not built; leave --no-build away")
    newest = sorted((path for path in target.glob(f"deps/{BENCH}-*") if not path.suffix),
                    key=lambda path: path.stat().st_mtime)
    return found | ({BENCH: newest[-1]} if newest else {})


def nginx():
    """Where nginx is, installed if it can be; None and a word about it if not."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    found = shutil.which("nginx", path=path)
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing nginx with apt-get", file=sys.stderr)
        for words in (["update", "-qq"], ["install", "-y", "-qq", "nginx-light"]):
            subprocess.run(["apt-get", *words], stdout=subprocess.DEVNULL, check=False,
                           env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))
        found = shutil.which("nginx", path=path)
    if not found:
        print("NO NGINX: not installed, and only root can install it here by apt-get; "
              "its rows are skipped", file=sys.stderr)
    return found
