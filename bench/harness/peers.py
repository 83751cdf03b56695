"""The peers: their installation, configs and table.

Each gets a chat request of 1 KB in OpenAI's form, which both take, and asks the same upstream for
an answer of 1 KB by Bedrock's Converse, signed. The gateway gets the same as Converse: it does not
translate.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from . import binaries, configs, processes, workloads
from .load import Load, ask
from .main import end_in_order
from .rounds import Side
from .scene import Scene
from .table import cpu, ratios, spread

LITELLM, PORTKEY = "1.108.7", "1.15.2"
LITELLM_KEY = "sk-bench-0123456789-abcdefghij-0123456789"
LIMIT_S = 900
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


def cache():
    default = pathlib.Path.home() / ".cache" / "sluice-bench"
    return pathlib.Path(os.environ.get("SLUICE_BENCH_CACHE", default))


def install_litellm():
    """The proxy's command, or None and a word why."""
    folder = cache() / f"litellm-{LITELLM}"
    command = folder / "bin" / "litellm"
    if not command.exists():
        print(f"installing LiteLLM {LITELLM}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        done = subprocess.run([folder / "bin" / "pip", "install", "--quiet",
                               f"litellm[proxy]=={LITELLM}", "boto3"], stdout=sys.stderr)
        if done.returncode:
            shutil.rmtree(folder)
            print("LITELLM SKIPPED: pip can't install it here", file=sys.stderr)
            return None
    return command


def install_portkey():
    """The gateway's script, or None and a word why."""
    folder = cache() / f"portkey-{PORTKEY}"
    script = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not script.exists():
        if not shutil.which("npm"):
            print("PORTKEY SKIPPED: there is no npm here", file=sys.stderr)
            return None
        print(f"installing Portkey {PORTKEY}", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix",
                               folder, f"@portkey-ai/gateway@{PORTKEY}"], stdout=sys.stderr)
        if done.returncode:
            print("PORTKEY SKIPPED: npm can't install it here", file=sys.stderr)
            return None
    return script


class Chat(workloads.Workload):
    """A chat request in OpenAI's form, whose answer is a translation of the upstream's."""

    def __init__(self, model):
        message = {"role": "user"}
        body = {"model": model, "max_tokens": 1000, "messages": [message]}
        super().__init__("chat", "", workloads.fill(body, 1024, lambda text: message.update(content=text)))
        self.path = "/v1/chat/completions"
        self.translated = True
        self.answer_bytes = None

    def look_at(self, port, headers):
        """Ends the run unless the answer has the upstream's text; notes its length."""
        status, data = ask(port, self, headers)
        text = json.loads(data)["choices"][0]["message"]["content"] if status == 200 else data
        if status != 200 or set(text) != {"x"} or len(text) < 800:
            raise SystemExit(f"a wrong answer on {port}: {status} {data[:500]}")
        self.answer_bytes = len(data)


def litellm(scene, command):
    port = processes.free_port()
    text = LITELLM_CONFIG.format(model=configs.MODELS[0][1], region=configs.REGION,
                                 upstream=scene.upstream.port)
    configs.show("LiteLLM", text)
    path = scene.folder / "litellm.yaml"
    path.write_text(text)
    env = dict(os.environ, LITELLM_MASTER_KEY=LITELLM_KEY, LITELLM_LOCAL_MODEL_COST_MAP="True",
               LITELLM_LOG="ERROR")
    process = scene.start("LiteLLM", [command, "--config", path, "--host", "127.0.0.1", "--port",
                                      port, "--num_workers", scene.settings.workers],
                          port, env=env, cwd=scene.folder, stderr=subprocess.DEVNULL)
    process.ready_s = process.wait_until_it_listens(limit_s=120)
    headers = ["content-type: application/json", f"authorization: Bearer {LITELLM_KEY}"]
    return Side(f"LiteLLM {LITELLM}", process, lambda *_: headers, Chat("bench"))


def portkey(scene, script):
    port = processes.free_port()
    # Without this it refuses hosts on loopback.
    env = dict(os.environ, NODE_ENV="production", TRUSTED_CUSTOM_HOSTS="127.0.0.1")
    process = scene.start("Portkey", ["node", script, f"--port={port}", "--headless"], port, env=env,
                          cwd=scene.folder)
    process.ready_s = process.wait_until_it_listens(limit_s=60)
    headers = ["content-type: application/json", "x-portkey-provider: bedrock",
               "x-portkey-aws-access-key-id: AKIDBENCH",
               "x-portkey-aws-secret-access-key: bench-upstream-secret-0123456789",
               f"x-portkey-aws-region: {configs.REGION}",
               f"x-portkey-custom-host: http://127.0.0.1:{scene.upstream.port}"]
    configs.show("Portkey (headers)", "\n".join(headers))
    return Side(f"Portkey {PORTKEY}", process, lambda *_: headers, Chat(configs.MODELS[0][1]))


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
    print("\n".join(lines))
    print(f"\nMedians (lowest to highest) of {settings.rounds} rounds; {settings.workers} cores and "
          f"as many workers, but one process of Portkey; load average {before:.1f} before and "
          f"{os.getloadavg()[0]:.1f} after.")


def measure(scene):
    scene.put_up_upstream()
    work = workloads.Workload("Converse, 1 KB each way", "converse", workloads.converse(1024))
    sluice = Side("Sluice", scene.plain_gateway(), workloads.bearer())
    sides = [sluice, Side("bare proxy", scene.bare_proxy(), workloads.bearer())]
    for install, put_up in [(install_litellm, litellm), (install_portkey, portkey)]:
        installed = install()
        if installed:
            sides.append(put_up(scene, installed))
    time.sleep(5)
    idle = {side.name: side.process.memory_kib() / 1024 for side in sides}
    for side in sides:
        if side.workload:
            side.workload.look_at(side.process.port, side.headers)
    full = scene.rounds().run(work, sides)
    for one in [work, *(side.workload for side in sides if side.workload)]:
        one.connections = 1
    alone = scene.rounds(1).run(work, sides)
    lines = ["| gateway | CPU per request, µs | times Sluice's | requests/s | p50, one connection, µs "
             "| idle memory, MB | memory after, MB |", "|" + " --- |" * 7]
    for side in sides:
        times = ratios(cpu(full[side.name]), cpu(full["Sluice"]))
        p50 = statistics.median(one.told["latency_us"]["p50"] for one in alone[side.name])
        lines.append(f"| {side.name} | {spread(cpu(full[side.name]))} | {spread(times)} "
                     f"| {spread([one.rate for one in full[side.name]], 0)} | {p50:.0f} "
                     f"| {idle[side.name]:.0f} | {side.process.memory_kib() / 1024:.0f} |")
    return lines
