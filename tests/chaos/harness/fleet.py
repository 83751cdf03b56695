"""The processes: three gateways of one fleet, their Redis, the simulated Bedrock, each in a namespace of
its own; their addresses and their configs.

The simulator has two addresses, which stand for two regions: the first target of a route is at the one, its
fallback at the other, so that a gateway can be cut from either.
"""

import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

from .network import Namespace, Network

GATEWAYS = ["10.77.0.11", "10.77.0.12", "10.77.0.13"]
REDIS, NEAR, FAR, CLIENTS = "10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.0.5"
PORT, ADMIN, REDIS_PORT, SIMULATOR_PORT = 8080, 9090, 6379, 4599

MODEL, FALLBACK = "us.anthropic.claude-haiku-5-5", "us.anthropic.claude-sonnet-4-6"
# The model whose quota the fleet shares, in requests a minute; the simulator itself keeps none.
SCARCE, RPM = "us.amazon.nova-pro-v1:0", 120
# USD for a million tokens, so that a request's cost is all but that of its output.
INPUT_PRICE, OUTPUT_PRICE = 1.0, 1000.0
MAX_TOKENS = 64
# Clients with budgets, in USD for a day: the first never uses its own up.
BUDGETS = {"open": 1_000_000.0, "calm": 4.0, "one-cut": 4.0, "all-cut": 4.0}
# How long a gateway waits for a connection, and for the head of an answer; how long a failing target is
# out. Together they bound the time until a target that can be reached again answers.
CONNECT_S, FIRST_BYTE_S, OUT_S = 0.8, 2.0, 0.5
# Heartbeats of jobs, in seconds; a claim lapses after three.
HEARTBEAT_S = 1

ENVIRONMENT = {
    "CHAOS_UPSTREAM_SECRET": "simulator-secret-key",
    "CHAOS_ADMIN_KEY": "chaos-admin-key-0123456789",
    "CHAOS_RESPONSES_KEY": "chaos-responses-key-0123456789abcdef0123456789",
}
CONFIG = """\
[server]
listen = "{address}:{port}"
admin_listen = "{address}:{admin}"
admin_key = "env:CHAOS_ADMIN_KEY"
request_timeout = "15s"
worker_threads = 1
[upstream]
region = "us-east-1"
endpoint_url = "http://{near}:{simulator}"
access_key_id = "AKIDSIMULATOR"
secret_access_key = "env:CHAOS_UPSTREAM_SECRET"
proxy = "off"
connect_timeout = "{connect_ms}ms"
first_byte_timeout = "{first_byte_ms}ms"
idle_timeout = "2s"
[targets.near]
model = "{model}"
[targets.far]
model = "{fallback}"
endpoint_url = "http://{far}:{simulator}"
[targets.scarce]
model = "{scarce}"
rpm = {rpm}
[[routes]]
models = ["{model}"]
targets = ["near", "far"]
[[routes]]
models = ["{scarce}"]
targets = ["scarce"]
[fallback]
eject_cooldown = "{out_ms}ms"
[retry]
attempts = 2
base_delay = "100ms"
max_delay = "400ms"
[learning]
enabled = false
[queue]
max_wait = "2s"
{prices}
[state]
backend = "redis"
redis_url = "redis://{redis}:{redis_port}/0"
timeout = "500ms"
replicas = {replicas}
[jobs]
backend = "redis"
redis_url = "redis://{redis}:{redis_port}/0"
heartbeat = "{heartbeat}s"
poll_interval = "500ms"
chat_per_minute = 100000
chat_workers = 4
retry_max_delay = "2s"
[response_store]
backend = "redis"
redis_url = "redis://{redis}:{redis_port}/0"
keys = ["env:CHAOS_RESPONSES_KEY"]
[legacy]
models = ["near", "far"]
max_tokens = {max_tokens}
[legacy.prompts]
chat = "{{{{ query }}}}"
[usage_log]
enabled = true
path = "{folder}/usage.jsonl"
[log]
format = "json"
"""
PRICE = """\
[prices."{model}"]
input = {input}
output = {output}
"""
CLIENT = """\
[[clients]]
name = "{name}"
bearer_token = "sha256:{digest}"
daily_budget_usd = {budget}
"""


def key_of(client):
    return f"chaos-key-of-{client}-0123456789"


def call(address, port, method, path, body=None, headers=None, timeout=5.0):
    """The status and the text of an answer; a new connection for each call."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request(method, path, body and json.dumps(body), headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def admin(address, path, timeout=2.0):
    """What a gateway says at its admin port; an empty text if it says nothing."""
    key = {"x-sluice-admin-key": ENVIRONMENT["CHAOS_ADMIN_KEY"]}
    try:
        status, text = call(address, ADMIN, "GET", path, headers=key, timeout=timeout)
    except (OSError, http.client.HTTPException):
        return ""
    return text if status == 200 else ""


def metric(text, name):
    """A sample of metrics by its whole name with labels, or None."""
    for line in text.splitlines():
        if line.startswith(name + " "):
            return float(line.rpartition(" ")[2])
    return None


class Fleet:
    """Everything that runs, and the files that it leaves in `folder`."""

    def __init__(self, sluice, folder, seed):
        self.sluice, self.folder = sluice, pathlib.Path(folder)
        self.gateway_spaces = [Namespace(f"gateway {number}", address)
                               for number, address in enumerate(GATEWAYS, 1)]
        self.redis_space = Namespace("redis", REDIS)
        self.simulator_space = Namespace("simulator", NEAR, FAR)
        clients = Namespace("clients", CLIENTS)
        servers = [*self.gateway_spaces, self.redis_space, self.simulator_space]
        self.network = Network([*servers, clients], seed)
        # From here on this process is the clients.
        clients.enter()
        self.processes = {}
        self.logs = []

    def start(self):
        self.start_redis()
        self.spawn("simulator", self.simulator_space, [
            self.sluice, "simulate", "--listen", f"0.0.0.0:{SIMULATOR_PORT}", "--token-ms", "2"])
        wait_for_port(NEAR, SIMULATOR_PORT)
        for number in range(len(GATEWAYS)):
            self.start_gateway(number)
        for address in GATEWAYS:
            wait_until(f"{address} is ready", lambda at=address: "true" in admin(at, "/readyz"), 30)

    def spawn(self, name, space, command, **keywords):
        log = (self.folder / f"{name.replace(' ', '-')}.log").open("ab")
        self.logs.append(log)
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | ENVIRONMENT
        self.processes[name] = space.start(command, stdout=log, stderr=log, env=environment, **keywords)

    def start_redis(self):
        data = self.folder / "redis"
        data.mkdir(exist_ok=True)
        self.spawn("redis", self.redis_space, [
            "redis-server", "--bind", REDIS, "--port", REDIS_PORT, "--protected-mode", "no", "--dir", data,
            "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
        wait_for_port(REDIS, REDIS_PORT)

    def stop_redis(self, with_its_data=True):
        self.kill("redis")
        if not with_its_data:
            shutil.rmtree(self.folder / "redis")

    def start_gateway(self, number):
        address = GATEWAYS[number]
        folder = self.folder / f"gateway-{number + 1}"
        folder.mkdir(exist_ok=True)
        path = folder / "config.toml"
        path.write_text(config(address, folder))
        self.spawn(f"gateway {number + 1}", self.gateway_spaces[number],
                   [self.sluice, "serve", "--config", path])

    def kill(self, name):
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def check(self):
        """Ends the run if a process has ended that should not."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise SystemExit(f"{name} has ended with {process.returncode}")

    def usage_records(self):
        """What all gateways have noted of their requests."""
        records = []
        for path in sorted(self.folder.glob("gateway-*/usage.jsonl*")):
            for line in path.read_text().splitlines():
                # The last line of a gateway that was killed may be cut.
                if line.endswith("}"):
                    records.append(json.loads(line))
        return records

    def stop(self):
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.network.stop()
        for log in self.logs:
            log.close()


def config(address, folder):
    prices = "".join(PRICE.format(model=model, input=INPUT_PRICE, output=OUTPUT_PRICE)
                     for model in (MODEL, FALLBACK, SCARCE))
    text = CONFIG.format(
        address=address, port=PORT, admin=ADMIN, near=NEAR, far=FAR, simulator=SIMULATOR_PORT, redis=REDIS,
        redis_port=REDIS_PORT, model=MODEL, fallback=FALLBACK, scarce=SCARCE, rpm=RPM,
        connect_ms=int(CONNECT_S * 1000), first_byte_ms=int(FIRST_BYTE_S * 1000),
        out_ms=int(OUT_S * 1000),
        prices=prices, replicas=len(GATEWAYS), heartbeat=HEARTBEAT_S,
        max_tokens=MAX_TOKENS, folder=folder)
    for name, budget in BUDGETS.items():
        digest = hashlib.sha256(key_of(name).encode()).hexdigest()
        text += CLIENT.format(name=name, digest=digest, budget=budget)
    return text


def redis(*words):
    """Redis's reply to a command, as lines."""
    command = ["redis-cli", "-h", REDIS, "-p", str(REDIS_PORT), *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=10,
                          check=True).stdout.splitlines()


def wait_until(what, holds, limit_s):
    """Returns the seconds that it took."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        if holds():
            return time.monotonic() - began
        time.sleep(0.02)
    raise SystemExit(f"not within {limit_s} s: {what}")


def wait_for_port(address, port):
    def listens():
        try:
            socket.create_connection((address, port), timeout=0.5).close()
        except OSError:
            return False
        return True

    wait_until(f"{address}:{port} listens", listens, 20)
