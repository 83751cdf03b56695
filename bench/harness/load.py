"""Drives the load generator, and checks that bytes pass unchanged."""

import http.client
import itertools
import json
import subprocess
import tempfile

from . import workloads
from .processes import die_with_parent


class Load:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.files = {}

    def file(self, data):
        """A file with these bytes, written once."""
        if data not in self.files:
            with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
                file.write(data)
            self.files[data] = file.name
        return self.files[data]

    def command(self, port, workload, headers, *more):
        command = [self.binary, "--to", f"127.0.0.1:{port}", "--path", workload.path,
                   "--body", self.file(workload.body), *more]
        for header in [*headers(workload, port), *workload.headers]:
            command += ["--header", header]
        if workload.variants:
            command += ["--variants", self.file("\n".join(workload.variants).encode())]
        return [str(part) for part in command]

    def drive(self, port, workload, headers, requests, rate=None, generators=None):
        """Sends so many requests; any wrong answer ends the row. Returns what was seen.

        `generators` are the cores of several load generators that share the requests.
        """
        share = requests // len(generators or [0])
        expect = ["--expect-frames", workload.frames] if workload.frames else [
            "--expect-bytes", workload.answer_bytes]
        command = self.command(port, workload, headers, *expect, "--requests", share,
                               "--connections", workload.connections,
                               *(["--rate", rate] if rate else []))
        prefixes = [["taskset", "-c", str(core)] for core in generators or []] or [[]]
        told = run(workload, [[*prefix, *command] for prefix in prefixes])
        told[0]["requests"] = sum(one["requests"] for one in told)
        told[0]["seconds"] = max(one["seconds"] for one in told)
        return told[0]

    def watch(self, port, workload, headers, streams_each, spread_s, late_ms, generators):
        """Keeps streams open on all connections, which begin within `spread_s`, shared by so many generators.

        Returns for each second the events that came, those that were late, and the longest delay in µs.
        """
        shares = [len(range(number, workload.connections, generators)) for number in range(generators)]
        commands = [self.command(port, workload, headers, "--expect-frames", workload.frames,
                                 "--connections", share, "--requests", share * streams_each,
                                 "--spread-s", spread_s, "--late-ms", late_ms, "--limit-s", 900)
                    for share in shares if share]
        seconds = itertools.zip_longest(*(one["seconds_of_frames"] for one in run(workload, commands)),
                                        fillvalue=(0, 0, 0))
        return [(sum(at[0] for at in all), sum(at[1] for at in all), max(at[2] for at in all))
                for all in seconds]

    def hold(self, port, workload, headers, streams, frames):
        """Opens streams and keeps them open; returns their keeper, for `let_go`."""
        command = self.command(port, workload, headers, "--hold", frames, "--requests", streams,
                               "--connections", streams, "--limit-s", 60)
        keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True, preexec_fn=die_with_parent)
        if json.loads(keeper.stdout.readline() or "null") != {"holding": streams}:
            raise SystemExit(f"{streams} streams could not be opened")
        return keeper


def run(workload, commands):
    """What the load generators of these commands say, which run at the same time."""
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
               for command in commands]
    try:
        told = [json.loads(one.communicate()[0] or "null") for one in running]
    finally:
        for one in running:
            one.kill()
            one.wait()
    if any(one.returncode for one in running):
        raise SystemExit(f"{workload.name}: a wrong answer; the row does not count")
    return told


def let_go(keeper):
    """Ends the streams, which must all have stayed open."""
    keeper.communicate()
    if keeper.returncode:
        raise SystemExit("streams did not stay open")


def ask(port, workload, headers, *more):
    """Status and body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    first = (workload.variants or [""])[0]
    try:
        connection.putrequest("POST", workload.path.replace("{}", first), skip_accept_encoding=True)
        for header in [*headers(workload, port), *workload.headers, *more]:
            name, value = header.replace("{}", first).split(": ", 1)
            connection.putheader(name, value)
        connection.putheader("content-length", str(len(workload.body)))
        connection.endheaders(workload.body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def check_unchanged(port, workload, headers, upstream):
    """Ends the row unless a request and its answer pass to the byte."""
    check = "x-bench-check: 1"
    if workload.frames:
        wanted = ask(upstream, workload, headers, check)
    else:
        wanted = (200, workload.body)
    got = ask(port, workload, headers, check)
    if got != wanted:
        raise SystemExit(f"{workload.name}: bytes were changed on the way, or refused: {got[0]}, "
                         f"{len(got[1])} bytes, not {len(wanted[1])}: {got[1][:300]}")
