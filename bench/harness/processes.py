"""Starts processes and sees that none is left behind; their CPU time and memory."""

import contextlib
import ctypes
import os
import pathlib
import resource
import signal
import socket
import subprocess
import time

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def raise_file_limit():
    """As many open files as this user may have; returns how many that are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (65536, hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return wanted
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def client_files(limit):
    """How many of its open files the gateway has for clients: it keeps the rest for itself and upstreams."""
    return limit - max(16, min(limit // 8, 256)) - limit // 8


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A process that listens on `port`."""

    def __init__(self, name, command, port, cores=None, **extra):
        self.name, self.port = name, port
        command = [str(part) for part in command]
        if cores is not None:
            command = ["taskset", "-c", ",".join(map(str, cores)), *command]
        self.command = command
        self.started = time.monotonic()
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            **{"stdout": subprocess.DEVNULL, "preexec_fn": die_with_parent} | extra,
        )

    def wait_until_it_listens(self, limit_s=20):
        """Returns the seconds since its start."""
        while time.monotonic() - self.started < limit_s:
            if self.popen.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.popen.returncode}")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return time.monotonic() - self.started
            time.sleep(0.02)
        raise SystemExit(f"{self.name} does not listen after {limit_s} s")

    def pids(self):
        """Itself and its children, such as nginx's workers."""
        found, queue = [], [self.popen.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    queue += map(int, (task / "children").read_text().split())
        return found

    def cpu_ns(self):
        """CPU time, user and system, of all its threads, those that ended included.

        A process's CPU clock has the kernel's exact figure; /proc/PID/stat rounds it to 10 ms.
        """
        return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in self.pids())

    def memory_kib(self, key="VmRSS"):
        return sum(status(pid, key) for pid in self.pids())

    def stop(self):
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


def status(pid, key):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith(key + ":"))
    return int(line.split()[1])


class Stage(contextlib.ExitStack):
    """Processes that are stopped at the end, whatever happens."""

    def start(self, *args, **extra):
        process = Process(*args, **extra)
        self.callback(process.stop)
        return process


class Stopped(SystemExit):
    """A signal or the time limit ends the run, not the row alone."""


def end_in_order():
    """Signals and the time limit lead through `with`, so that no process is left behind."""
    def stop(number, _):
        raise Stopped(f"stopped by signal {number}")

    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, stop)


def cores():
    return len(os.sched_getaffinity(0))
