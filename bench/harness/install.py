"""Installs what is measured beside the gateway, of fixed versions, in a cache directory outside the repository."""

import os
import pathlib
import shutil
import subprocess
import sys


def cache():
    default = pathlib.Path.home() / ".cache" / "sluice-bench"
    return pathlib.Path(os.environ.get("SLUICE_BENCH_CACHE", default))


def from_pypi(name, version, command, *packages):
    """The command of these packages in an environment of their own; None and a word why if pip fails."""
    folder = cache() / f"{name.lower()}-{version}"
    installed = folder / "bin" / command
    if not installed.exists():
        print(f"installing {name} {version}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        done = subprocess.run([folder / "bin" / "pip", "install", "--quiet", *packages],
                              stdout=sys.stderr)
        if done.returncode:
            shutil.rmtree(folder)
            print(f"{name.upper()} SKIPPED: pip can't install it here", file=sys.stderr)
            return None
    return installed


def from_npm(name, version, package, script):
    """The script of this package; None and a word why if it can't be installed."""
    folder = cache() / f"{name.lower()}-{version}"
    installed = folder / "node_modules" / package / script
    if not installed.exists():
        if not shutil.which("npm"):
            print(f"{name.upper()} SKIPPED: there is no npm here", file=sys.stderr)
            return None
        print(f"installing {name} {version}", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix",
                               folder, f"{package}@{version}"], stdout=sys.stderr)
        if done.returncode:
            print(f"{name.upper()} SKIPPED: npm can't install it here", file=sys.stderr)
            return None
    return installed
