"""The rows of the table: what each measures, against what, and its goal.

Each function takes a scene, in which it puts up what it needs, and returns lines of the table.
"""

import contextlib
import http.client
import os
import random
import re
import statistics
import subprocess
import sys
import time

from . import binaries, configs, load, processes, workloads
from .rounds import Side
from .table import Result, cpu, differences, ratios, skipped, spread

HERE = workloads.bearer()


def gateway_side(scene, name="gateway", **more):
    return Side(name, scene.plain_gateway(**more), HERE)


def check_log(scene, side):
    """The access log is on: each request has its line there."""
    time.sleep(0.2)
    missing = scene.lines_missing(side)
    if missing:
        print(f"NOTE: {missing} of {side.requests} requests have no line in the access log",
              file=sys.stderr)


def against(name, samples):
    return f"{name}: {spread(cpu(samples))} µs"


def invoke_small(scene):
    """InvokeModel, 1 KB each way, against the bare proxy and nginx."""
    scene.put_up_upstream()
    gateway = gateway_side(scene)
    sides = [gateway, Side("bare proxy", scene.bare_proxy(), HERE)]
    nginx = binaries.nginx()
    if nginx:
        sides.append(Side("nginx", scene.nginx(nginx), HERE))
        if not scene.settings.short:
            sides.append(Side("nginx, access log on", scene.nginx(nginx, log=True), HERE))
    work = workloads.invoke(1024, "1 KB")
    samples = scene.rounds().run(work, sides)
    check_log(scene, gateway)
    own = samples["gateway"]
    measure = "CPU per request"
    lines = []
    for name, goal in [("bare proxy", 1.5), ("nginx", 1.5), ("nginx, access log on", None)]:
        if name in samples:
            lines.append(Result(work.name, measure, f"{spread(cpu(own))} µs",
                                against(name, samples[name]),
                                ratios(cpu(own), cpu(samples[name])), at_most=goal))
        elif name == "nginx":
            lines.append(skipped(work.name, measure, "nginx is not installed"))
    for side in sides:
        rates = [sample.rate for sample in samples[side.name]]
        times = [sample.told["latency_us"] for sample in samples[side.name]]
        p50, p99 = (statistics.median(time[at] for time in times) for at in ("p50", "p99"))
        scene.settings.notes.append(
            f"{work.name}, {side.name}: {spread(rates, 0)} requests/s with upstream and load "
            f"generator on the same cores, p50 {p50:.0f} µs, p99 {p99:.0f} µs; "
            f"memory {side.process.memory_kib() / 1024:.1f} MB afterwards.")
    return lines


def invoke_large(scene):
    """InvokeModel, 1 MB in, against the bare proxy that hashes the body."""
    scene.put_up_upstream()
    gateway = gateway_side(scene)
    sides = [gateway, Side("bare proxy + SHA-256", scene.bare_proxy("--hash"), HERE)]
    work = workloads.invoke(1 << 20, "1 MB")
    samples = scene.rounds().run(work, sides)
    check_log(scene, gateway)
    own, bare = samples["gateway"], samples["bare proxy + SHA-256"]
    return [Result(work.name, "CPU per request", f"{spread(cpu(own), 0)} µs",
                   f"bare proxy + SHA-256: {spread(cpu(bare), 0)} µs",
                   ratios(cpu(own), cpu(bare)), at_most=1.15)]


def stream(scene):
    """ConverseStream: CPU per frame, and how long frames are held back at light load."""
    scene.put_up_upstream("--frames", workloads.FRAMES)
    gateway = gateway_side(scene)
    bare = Side("bare proxy", scene.bare_proxy(), HERE)
    work = workloads.stream(96)
    samples = scene.rounds().run(work, [gateway, bare])
    own = samples["gateway"]
    lines = [Result(f"{work.name}, 5 ms apart, {work.connections} at once", "CPU per frame",
                    f"{spread(cpu(own))} µs", against("bare proxy", samples["bare proxy"]),
                    ratios(cpu(own), cpu(samples["bare proxy"])), at_most=1.3)]

    direct = Side("direct", scene.upstream, HERE)
    sides = [gateway, direct, bare]
    seconds = 0.6 if scene.settings.short else 2
    light = workloads.stream(8, frames=50)
    light.name += f", 5 ms apart, {light.connections} at once"
    samples = scene.rounds(seconds).run(light, sides)
    lines.append(added(light.name, "added time of a frame on its way, p50", samples,
                       "frame_delay_us", "p50", 100))
    begin = workloads.stream(16, frames=2)
    begin.name += ", 100 streams/s at random times"
    samples = scene.rounds(seconds).run(begin, sides, rate=100)
    check_log(scene, gateway)
    lines.append(added(begin.name, "added time to first byte, p50", samples,
                       "first_frame_us", "p50", 100))
    return lines


def added(work, measure, samples, key, at, goal):
    """What the gateway adds to a time that is taken without it, too."""
    times = {name: [sample.told[key][at] for sample in side] for name, side in samples.items()}
    others = "; ".join(f"{name}: {spread(times[name], 0)} µs" for name in ("direct", "bare proxy"))
    return Result(work, measure, f"{spread(times['gateway'], 0)} µs", others,
                  differences(times["gateway"], times["direct"]), 0, " µs", at_most=goal)


def latency(scene):
    """Latency that the gateway adds at a tenth of its capacity."""
    scene.put_up_upstream()
    gateway, direct = gateway_side(scene), Side("direct", scene.upstream, HERE)
    bare = Side("bare proxy", scene.bare_proxy(), HERE)
    work = workloads.invoke(1024, "1 KB")
    capacity = scene.rounds(count=3).run(work, [gateway])["gateway"]
    rate = statistics.median(sample.rate for sample in capacity) / 10
    work.name = f"InvokeModel, 1 KB each way, {rate:.0f} requests/s at random times"
    samples = scene.rounds(1 if scene.settings.short else 4).run(work, [gateway, direct, bare], rate)
    return [added(work.name, f"added latency, {at}", samples, "latency_us", at, goal)
            for at, goal in [("p50", 150), ("p99", 1000)]]


def idle_streams(scene):
    """Resident memory of an open stream that is silent."""
    frames = 3
    scene.put_up_upstream("--silent-after", frames, "--frame-interval-ms", 1)
    # Two files for a stream in the gateway, and some for itself.
    streams = min(10_000, (processes.client_files(scene.settings.open_files) - 200) // 2)
    work = workloads.stream(1)
    of_each = {"gateway": [], "bare proxy": []}
    for _ in range(1 if scene.settings.short else 3):
        for name, put_up in [("gateway", scene.plain_gateway), ("bare proxy", scene.bare_proxy)]:
            process = put_up()
            load.let_go(scene.load.hold(process.port, work, HERE, 200, frames))
            time.sleep(0.3)
            before = process.memory_kib()
            keeper = scene.load.hold(process.port, work, HERE, streams, frames)
            time.sleep(0.5)
            of_each[name].append((process.memory_kib() - before) / streams)
            load.let_go(keeper)
            process.stop()
    short = "" if streams == 10_000 else " (as many as the limit of open files allows)"
    return [Result(f"{streams} open idle streams{short}", "resident memory per stream",
                   f"{spread(of_each['gateway'])} KiB",
                   f"bare proxy: {spread(of_each['bare proxy'])} KiB",
                   of_each["gateway"], 1, " KiB", at_most=24)]


def idle(scene):
    """The process without requests: memory, time to ready, size of the binary."""
    sluice = scene.settings.binaries["sluice"]
    starts = []
    for _ in range(5 if scene.settings.short else 15):
        process, seconds = start_default(scene, sluice)
        starts.append(seconds * 1e3)
        process.stop()
    process, _ = start_default(scene, sluice)
    time.sleep(5)
    memory = process.memory_kib() / 1024
    anonymous = process.memory_kib("RssAnon") / 1024
    name = "idle process, default config"
    size = os.stat(sluice).st_size / 1e6
    return [
        Result(name, "resident memory after 5 s", f"{memory:.1f} MB, {anonymous:.1f} MB of it "
               "not file pages", "", [memory], 1, " MB", at_most=15),
        Result(name, "time from start to ready", f"{spread(starts)} ms", "", starts, 1, " ms",
               at_most=50),
        Result(name, "binary, stripped", f"{size:.1f} MB", "", [size], 1, " MB", at_most=20),
    ]


def start_default(scene, sluice):
    """A gateway by the shipped config, and how long it took to be ready."""
    port, admin = processes.free_port(), processes.free_port()
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(("AWS_", "SLUICE", "BEDROCK_"))} | {
        "AWS_ACCESS_KEY_ID": "AKIDBENCH", "AWS_SECRET_ACCESS_KEY": "bench-secret-0123456789",
        "AWS_REGION": configs.REGION, "SLUICE__SERVER__LISTEN": f"127.0.0.1:{port}",
        "SLUICE__SERVER__ADMIN_LISTEN": f"127.0.0.1:{admin}",
    }
    command = [sluice, "serve", "--config", binaries.ROOT / "config.toml"]
    began = time.monotonic()
    process = scene.start("the gateway by default", command, port, env=env, cwd=scene.folder,
                          stderr=subprocess.DEVNULL)
    while time.monotonic() - began < 10:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=1)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return process, time.monotonic() - began
        time.sleep(0.0005)
    raise SystemExit("the gateway by the shipped config was not ready in 10 s")


def sigv4(scene):
    """What it costs more to verify the signatures of clients, and what it costs to sign."""
    scene.put_up_upstream()
    verifying = Side("verifying", scene.gateway("the gateway, verifying signatures", configs.MODELS,
                                                configs.signing_client()), workloads.signed)
    trusting = Side("not verifying", scene.gateway("the gateway, open to all", configs.MODELS,
                                                   configs.open_to_all()), workloads.signed)
    presenting = Side("not signing", scene.gateway("the gateway, open to all, with a bearer key",
                                                   configs.MODELS, configs.open_to_all(),
                                                   signs=False), workloads.signed)
    work = workloads.invoke(1024, "1 KB")

    def forged(workload, port):
        return workloads.signed(workload, port, "not-the-secret-of-the-client")

    if load.ask(verifying.process.port, work, forged)[0] != 403:
        raise SystemExit("a wrong signature was not refused")
    samples = scene.rounds().run(work, [verifying, trusting, presenting])
    verified, trusted, unsigned = (cpu(samples[side.name])
                                   for side in (verifying, trusting, presenting))
    extra, signing = differences(verified, trusted), differences(trusted, unsigned)
    alone = signing_us(scene)
    alone = f" (in a loop {alone:.2f} µs)" if alone else ""
    return [Result("inbound signature verification, 1 KB request", "extra CPU",
                   f"{spread(verified)} µs",
                   f"not verifying: {spread(trusted)} µs; not signing either: "
                   f"{spread(unsigned)} µs, so one outbound signing is "
                   f"{spread(signing, 2)} µs{alone}",
                   extra, 2, " µs", at_most=round(statistics.median(signing), 2))]


def signing_us(scene):
    """The median of one outbound signing, by its benchmark."""
    bench = scene.settings.binaries.get(binaries.BENCH)
    if bench is None:
        return None
    told = subprocess.run([bench, "--bench", "sign_outbound"], capture_output=True, text=True,
                          check=True).stdout
    # divan's columns: fastest, slowest, median, mean.
    line = next(line for line in told.splitlines() if "sign_outbound" in line)
    times = re.findall(r"([\d.]+) (ns|µs|us|ms)", line)
    value, unit = times[2]
    return float(value) * {"ns": 1e-3, "ms": 1e3}.get(unit, 1)


def scaling(scene):
    """Two workers against one."""
    work = workloads.invoke(1024, "1 KB")
    work.connections = 32
    if processes.cores() >= 6:
        return scaling_pinned(scene, work)
    scene.put_up_upstream()
    sides = [gateway_side(scene, f"{n} worker{'s' * (n > 1)}", workers=n) for n in (1, 2)]
    samples = scene.rounds().run(work, sides)
    one, two = cpu(samples["1 worker"]), cpu(samples["2 workers"])
    per_second = [1e6 / value for value in one], [1e6 / value for value in two]
    return [Result("scaling, ESTIMATED from CPU time: fewer than 6 cores here",
                   "2 x requests per CPU second on 2 workers / on 1",
                   f"2 workers: {spread(per_second[1], 0)}", f"1 worker: {spread(per_second[0], 0)}",
                   [2 * ratio for ratio in ratios(one, two)], at_least=1.8)]


def scaling_pinned(scene, work):
    """With cores for all: the gateway on the first two, upstream and generators on others."""
    free = sorted(os.sched_getaffinity(0))
    scene.put_up_upstream(cores=free[2:3])
    generators = free[3:6]
    sides = []
    for count in (1, 2):
        process = scene.plain_gateway(workers=count, cores=free[:count])
        sides.append(Side(f"{count} worker{'s' * (count > 1)}", process, HERE, None, generators))
    samples = scene.rounds().run(work, sides)
    rates = {name: [sample.rate for sample in side] for name, side in samples.items()}
    return [Result("scaling, upstream and load generators on cores of their own",
                   "requests/s on 2 workers / on 1", spread(rates["2 workers"], 0),
                   f"1 worker: {spread(rates['1 worker'], 0)}",
                   ratios(rates["2 workers"], rates["1 worker"]), at_least=1.8)]


def many(scene):
    """Many targets or clients in the config, all of them in use."""
    scene.put_up_upstream()
    one, four = configs.bearer_clients(1), configs.many_models(4)
    few = Side("4 targets", scene.gateway("the gateway, 4 targets", four, one), HERE)
    work = workloads.Workload("4 targets", "invoke", workloads.anthropic(1024),
                              model="anthropic.bench-0-v1:0")

    wanted = {"targets": 20_000, "clients": 100_000}
    targets = most(scene, wanted["targets"], lambda n: (configs.many_models(n), one))
    wide = workloads.Workload("targets", "invoke", work.body, model="anthropic.bench-{}-v1:0")
    wide.variants = shuffled(range(0, targets, 4))
    process = scene.gateway(f"the gateway, {targets} targets", configs.many_models(targets), one)
    sides = [few, Side("targets", process, HERE, wide)]

    clients = most(scene, wanted["clients"], lambda n: (four, configs.bearer_clients(n)))
    crowd = workloads.Workload("clients", "invoke", work.body, model="anthropic.bench-0-v1:0")
    crowd.variants = shuffled(range(clients))
    process = scene.gateway(f"the gateway, {clients} clients", four, configs.bearer_clients(clients))
    sides.append(Side("clients", process, workloads.bearer(configs.bearer_of("{}")), crowd))

    samples = scene.rounds().run(work, sides)
    lines = []
    for side, count in zip(sides[1:], (targets, clients)):
        missing = "" if count == wanted[side.name] else f"the config takes no {wanted[side.name]}"
        lines.append(Result(f"{count} {side.name} configured, requests over all of them",
                            "CPU per request", f"{spread(cpu(samples[side.name]))} µs",
                            against("4 targets, 1 client", samples["4 targets"]),
                            ratios(cpu(samples[side.name]), cpu(samples["4 targets"])),
                            at_most=1.1, short_of=missing))
        memory = side.process.memory_kib() / 1024
        scene.settings.notes.append(f"{count} {side.name}: listening after "
                                    f"{side.process.ready_s:.2f} s, {memory:.0f} MB resident.")
    return lines


def shuffled(numbers):
    """The numbers as text, in an order that is mixed and always the same."""
    mixed = [str(number) for number in numbers]
    random.Random(1).shuffle(mixed)
    return mixed


def most(scene, wanted, parts):
    """As many as wanted, or as the gateway's config may have, found by halves."""
    count = wanted
    while count >= 8:
        path = scene.folder / "many.toml"
        path.write_text(configs.gateway(1, 2, "http://127.0.0.1:3", 1, *parts(count)))
        command = [scene.settings.binaries["sluice"], "check", "--config", path]
        checked = subprocess.run(command, env=os.environ | configs.ENVIRONMENT,
                                 capture_output=True, text=True)
        if checked.returncode == 0:
            return count
        words = checked.stderr.strip().splitlines() or ["no word why"]
        scene.settings.notes.append(f"{count} are refused by `sluice check`: {words[0]}"
                                    .replace(str(path), "config"))
        count //= 2
    raise SystemExit("the config takes not even a few")
