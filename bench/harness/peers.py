"""The peers: their installation, configs and tables.

The gateway and each peer get the same chat request of 1 KB in OpenAI's form, ask the same upstream by Bedrock's
Converse, signed, and translate its answer back: once an answer of 1 KB, once a stream. The bare proxy passes on
what Converse takes, and shows the share of moving bytes.
"""

import argparse
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile
import time

from . import binaries, configs, install, processes, translated, workloads
from .everything import everything_on
from .load import Load
from .processes import end_in_order
from .rounds import Side
from .scene import Scene
from .table import Result, cpu, markdown, ratios, skipped, spread

# The proxy of LiteLLM 1.110.2 requires the package litellm-proxy, which PyPI did not have on 2026-11-30.
LITELLM, PORTKEY = "1.108.7", "1.15.2"
LITELLM_KEY = "sk-bench-0123456789-abcdefghij-0123456789"
LIMIT_S = 900
# How many times the gateway's CPU time LiteLLM must take at least.
GOAL = 100
# Streams at the same time.
STREAMS = 16
LITELLM_CONFIG = """\
model_list:
  - model_name: bench
    litellm_params:
      model: bedrock/converse/{model}
      aws_access_key_id: AKIDBENCH
      aws_secret_access_key: bench-upstream-secret-0123456789
      aws_region_name: {region}
      aws_bedrock_runtime_endpoint: http://127.0.0.1:{upstream}
litellm_settings:
  telemetry: false
"""


def install_litellm():
    """The proxy's command, or None and a word why."""
    return install.from_pypi("LiteLLM", LITELLM, "litellm", f"litellm[proxy]=={LITELLM}", "boto3")


def install_portkey():
    """The gateway's script, or None and a word why."""
    return install.from_npm("Portkey", PORTKEY, "@portkey-ai/gateway", "build/start-server.js")


class Peer:
    """Something that answers chat requests: its process, its headers, the model and path that it is asked for."""

    def __init__(self, name, process, headers, model=configs.MODELS[0][1],
                 path="/v1/chat/completions"):
        self.name, self.process, self.headers = name, process, headers
        self.model, self.path = model, path

    def small(self, connections=16):
        work = translated.chat(self.model, self.path)
        work.connections = connections
        return Side(self.name, self.process, self.headers, work)

    def stream(self):
        work = translated.chat_stream(STREAMS, self.model, self.path)
        return Side(self.name, self.process, self.headers, work)


def litellm(scene, command):
    port = processes.free_port()
    text = LITELLM_CONFIG.format(model=configs.MODELS[0][1], region=configs.REGION,
                                 upstream=scene.upstream.port)
    configs.show("LiteLLM", text)
    path = scene.folder / "litellm.yaml"
    path.write_text(text)
    # It takes a stream of one token again and again for a model's failure.
    env = dict(os.environ, LITELLM_MASTER_KEY=LITELLM_KEY, LITELLM_LOCAL_MODEL_COST_MAP="True",
               LITELLM_LOG="ERROR", REPEATED_STREAMING_CHUNK_LIMIT="1000000")
    process = scene.start("LiteLLM", [command, "--config", path, "--host", "127.0.0.1", "--port",
                                      port, "--num_workers", scene.settings.workers],
                          port, env=env, cwd=scene.folder, stderr=subprocess.DEVNULL)
    process.ready_s = process.wait_until_it_listens(limit_s=300)
    headers = ["content-type: application/json", f"authorization: Bearer {LITELLM_KEY}"]
    return Peer(f"LiteLLM {LITELLM}", process, lambda *_: headers, "bench")


def portkey(scene, script):
    port = processes.free_port()
    # Without this it refuses hosts on loopback.
    env = dict(os.environ, NODE_ENV="production", TRUSTED_CUSTOM_HOSTS="127.0.0.1")
    process = scene.start("Portkey", ["node", script, f"--port={port}", "--headless"], port, env=env,
                          cwd=scene.folder, stderr=subprocess.DEVNULL)
    process.ready_s = process.wait_until_it_listens(limit_s=60)
    headers = ["content-type: application/json", "x-portkey-provider: bedrock",
               "x-portkey-aws-access-key-id: AKIDBENCH",
               "x-portkey-aws-secret-access-key: bench-upstream-secret-0123456789",
               f"x-portkey-aws-region: {configs.REGION}",
               f"x-portkey-custom-host: http://127.0.0.1:{scene.upstream.port}"]
    configs.show("Portkey (headers)", "\n".join(headers))
    return Peer(f"Portkey {PORTKEY}", process, lambda *_: headers)


class Settings:
    def __init__(self, args):
        self.short, self.rounds, self.seconds = False, args.rounds, args.seconds
        self.workers = processes.cores()
        self.open_files = processes.raise_file_limit()
        self.binaries = binaries.already_built() if args.no_build else binaries.build()
        self.notes = []


def main(about):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of a side in a round")
    parser.add_argument("--no-build", action="store_true", help="use what is built")
    settings = Settings(parser.parse_args())
    end_in_order()
    signal.alarm(LIMIT_S)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        load = Load(settings.binaries["load"], pathlib.Path(folder))
        with Scene(settings, load, folder) as scene:
            lines = measure(scene)
        with Scene(settings, load, folder) as scene:
            lines += ["", markdown(everything_on(scene))]
    print("\n".join(lines))
    print(f"\nMedians (lowest to highest) of {settings.rounds} rounds; {settings.workers} cores and "
          f"as many workers, but one process of Portkey; load average {before:.1f} before and "
          f"{os.getloadavg()[0]:.1f} after.")


def measure(scene):
    peers, bare = put_up(scene)
    return [*requests(scene, peers, bare), "", *streams(scene, peers, bare)]


def put_up(scene):
    """The gateway and the peers that can be installed, and the bare proxy."""
    scene.put_up_upstream("--frames", workloads.FRAMES)
    bare = scene.bare_proxy()
    peers = [Peer("Sluice", scene.plain_gateway(), workloads.bearer(), path=workloads.CHAT)]
    for install_it, put_it_up in [(install_litellm, litellm), (install_portkey, portkey)]:
        installed = install_it()
        if installed:
            peers.append(put_it_up(scene, installed))
    time.sleep(5)
    return peers, bare


def translated_work(scene):
    """The lines of `bench/run`: what the peers take for the same translated work."""
    peers, _ = put_up(scene)
    lines = []
    for sides, measured in [([peer.small() for peer in peers], "CPU per request"),
                            ([peer.stream() for peer in peers], "CPU per frame of the upstream")]:
        own, *others = sides
        samples = scene.rounds().run(own.workload, sides)
        for side in others:
            taken, own_cpu = cpu(samples[side.name]), cpu(samples[own.name])
            goal = GOAL if side.name == f"LiteLLM {LITELLM}" else None
            lines.append(Result(f"{own.workload.name}, {side.name} / gateway", measured,
                                f"{spread(own_cpu)} µs", f"{side.name}: {spread(taken)} µs",
                                ratios(taken, own_cpu), 0, at_least=goal))
    wanted = {f"LiteLLM {LITELLM}", f"Portkey {PORTKEY}"}
    return lines + [skipped(f"Chat Completions by Converse, {name} / gateway", "CPU", "not installed")
                    for name in sorted(wanted - {peer.name for peer in peers})]


def requests(scene, peers, bare):
    """The table of whole answers."""
    idle = {id(process): process.memory_kib() / 1024
            for process in (bare, *(peer.process for peer in peers))}

    def sides(connections):
        native = workloads.Workload("Converse, 1 KB each way", "converse",
                                    workloads.converse(1024), connections)
        own, *others = (peer.small(connections) for peer in peers)
        return [own, Side("bare proxy", bare, workloads.bearer(), native), *others]

    first = sides(16)
    full = scene.rounds().run(first[0].workload, first)
    one_by_one = sides(1)
    alone = scene.rounds(1).run(one_by_one[0].workload, one_by_one)
    lines = ["| gateway | CPU per request, µs | times Sluice's | requests/s | p50, one connection, µs "
             "| idle memory, MB | memory after, MB |", "|" + " --- |" * 7]
    for side in first:
        times = ratios(cpu(full[side.name]), cpu(full["Sluice"]))
        p50 = statistics.median(one.told["latency_us"]["p50"] for one in alone[side.name])
        lines.append(f"| {side.name} | {spread(cpu(full[side.name]))} | {spread(times)} "
                     f"| {spread([one.rate for one in full[side.name]], 0)} | {p50:.0f} "
                     f"| {idle[id(side.process)]:.0f} | {side.process.memory_kib() / 1024:.0f} |")
    return lines + judged("a request", full)


def streams(scene, peers, bare):
    """The table of streams: CPU time is divided by the frames of the upstream, which are the same for all."""
    own, *others = (peer.stream() for peer in peers)
    native = workloads.stream(STREAMS)
    sides = [own, Side("bare proxy", bare, workloads.bearer(), native), *others]
    samples = scene.rounds().run(own.workload, sides)
    lines = ["| gateway | CPU per frame of the upstream, µs | times Sluice's | first event, p50, ms "
             "| whole stream, p50, ms |", "|" + " --- |" * 5]
    for side in sides:
        times = ratios(cpu(samples[side.name]), cpu(samples["Sluice"]))
        first, whole = (statistics.median(one.told[key]["p50"] / 1e3 for one in samples[side.name])
                        for key in ("first_frame_us", "latency_us"))
        lines.append(f"| {side.name} | {spread(cpu(samples[side.name]))} | {spread(times)} "
                     f"| {first:.1f} | {whole:.0f} |")
    return lines + judged("a frame", samples)


def judged(unit, samples):
    """Whether LiteLLM takes as many times the gateway's CPU time as it must."""
    name = f"LiteLLM {LITELLM}"
    if name not in samples:
        return []
    times = ratios(cpu(samples[name]), cpu(samples["Sluice"]))
    met = "met" if statistics.median(times) >= GOAL else "**not met**"
    return ["", f"{name} takes {spread(times, 0)} times Sluice's CPU time for {unit}; "
            f"the goal is at least {GOAL}: {met}."]
