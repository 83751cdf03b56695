"""The row of everything on: what a request of 1 KB costs a gateway that does all it can for it.

The client has a key, limits of requests, tokens and concurrency, and budgets whose sums are in a SQLite file.
Metrics and the JSON access log are on. Before the measurement a low limit must refuse, and after it the
metrics, the log and the sums of the budgets must have every request.
"""

import contextlib
import http.client
import re
import sqlite3
import statistics
import time

from . import binaries, configs, envoy, workloads
from .load import ask
from .rounds import Side
from .table import Result, cpu, ratios, skipped, spread

# What the gateway may take of the CPU time of each.
GOALS = {"bare proxy": 1.3, "nginx": 1.4, envoy.NAME: 0.33}
MEASURE = "CPU per request"


def everything_on(scene):
    """InvokeModel, 1 KB each way, against the bare proxy, nginx and Envoy."""
    scene.put_up_upstream()
    check_limit(scene)
    gateway = Side("gateway", put_up(scene, configs.RPM), workloads.bearer())
    sides = [gateway, Side("bare proxy", scene.bare_proxy(), workloads.bearer())]
    nginx, envoy_binary = binaries.nginx(), envoy.installed()
    if nginx:
        sides.append(Side("nginx", scene.nginx(nginx), workloads.bearer()))
    if envoy_binary:
        envoy.check(scene, envoy_binary)
        process = envoy.put_up(scene, envoy_binary, scene.upstream.port)
        sides.append(Side(envoy.NAME, process, envoy.headers))
    work = workloads.invoke(1024, "1 KB")
    samples = scene.rounds().run(work, sides)
    for side in sides:
        told = [one.told["latency_us"] for one in samples[side.name]]
        p50, p99 = (statistics.median(one[at] for one in told) for at in ("p50", "p99"))
        scene.settings.notes.append(
            f"{work.name}, everything on, {side.name}: p50 {p50:.0f} µs, p99 {p99:.0f} µs; "
            f"memory {side.process.memory_kib() / 1024:.1f} MB afterwards.")
    check_books(scene, gateway)
    if envoy_binary:
        envoy.check_log(sides[-1])
    own = cpu(samples["gateway"])
    return [line(f"{work.name}, everything on", own, name, goal, samples)
            for name, goal in GOALS.items()]


def line(work, own, name, goal, samples):
    if name not in samples:
        return skipped(work, MEASURE, f"{name} is not installed")
    other = cpu(samples[name])
    return Result(work, MEASURE, f"{spread(own)} µs", f"{name}: {spread(other)} µs",
                  ratios(own, other), at_most=goal)


def put_up(scene, rpm):
    """The gateway; `budgets` of the process is its file of sums."""
    budgets = scene.folder / f"budgets-{rpm}.db"
    name = "the gateway, everything on" + (", for its check" if rpm != configs.RPM else "")
    process = scene.gateway(name, configs.MODELS, configs.client_with_budgets(budgets, rpm))
    process.budgets = budgets
    return process


def check_limit(scene):
    """Ends the row unless a low limit of requests refuses the client."""
    process = put_up(scene, 3)
    work = workloads.invoke(1024, "1 KB")
    statuses = [ask(process.port, work, workloads.bearer())[0] for _ in range(4)]
    if statuses != [200, 200, 200, 429]:
        raise SystemExit(f"the gateway gave {statuses} for four requests that are limited to three")
    process.stop()


def check_books(scene, side):
    """Ends the row unless metrics, log and budgets have every request; stops the gateway, which then writes all."""
    counted = requests_in_metrics(side)
    side.process.stop()
    missing = scene.lines_missing(side)
    if counted != side.requests or missing:
        raise SystemExit(f"of {side.requests} requests {counted:.0f} are in the metrics, and {missing} "
                         "have no line in the access log")
    with contextlib.closing(sqlite3.connect(side.process.budgets)) as file:
        sums = file.execute("SELECT kind, nano_usd FROM sluice_budgets").fetchall()
    wanted = side.requests * configs.COST_USD
    for kind in ("daily", "monthly"):
        # A run over midnight has two days.
        spent = sum(nanos for of, nanos in sums if of == kind) / 1e9
        if abs(spent - wanted) > wanted / 1000:
            raise SystemExit(f"{spent} USD are in the {kind} budget, not {wanted}")


def requests_in_metrics(side):
    """How many requests the gateway has counted, once it has counted the last."""
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", side.process.admin, timeout=20)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        counted = sum(map(float, re.findall(r"^sluice_requests_total{.*} (\S+)$", text, re.MULTILINE)))
        if counted >= side.requests:
            break
        time.sleep(0.1)
    return counted
