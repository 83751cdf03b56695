"""The processes of a run: the simulated Bedrock, Redis, and two gateways, each with a small disk of its own."""

import contextlib
import os
import pathlib
import random
import socket
import subprocess
import time
import urllib.request

from harness import processes

from . import configs

MOUNT = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@"'


def free_port():
    """A port below those of outgoing connections, none of which may take it while its server is away."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


class Redis:
    """A server that writes each change to its disk before it answers, so that a restart loses nothing."""

    def __init__(self, stage, folder, port):
        self.stage, self.folder, self.port = stage, folder, port
        folder.mkdir()
        self.start()

    def start(self):
        command = ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--save", "", "--appendonly", "yes",
                   "--appendfsync", "always", "--dir", self.folder]
        self.process = self.stage.start("redis", command, self.port)
        self.process.wait_until_it_listens()
        self.is_away = False

    def end(self, kills):
        self.is_away = True
        if kills:
            self.process.popen.kill()
            self.process.popen.wait()
        else:
            self.process.stop()

    def ask(self, *words):
        command = ["redis-cli", "-p", str(self.port), *map(str, words)]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split("\n")


class Gateway:
    """A gateway whose small disk only it sees; others reach it through /proc."""

    def __init__(self, stage, name, binary, folder, ports):
        self.name, self.folder, self.ports = name, folder, ports
        self.port, self.admin = ports[name], ports[name + "-admin"]
        self.disk = folder / "disk"
        self.disk.mkdir(parents=True)
        self.access_log, self.own_log = folder / "access.log", folder / "gateway.log"
        self.reloads = 0
        self.write_config()
        command = ["unshare", "-m", "sh", "-c", MOUNT, "sh", configs.DISK_BYTES, self.disk,
                   binary, "serve", "--config", folder / "config.toml"]
        with self.access_log.open("ab") as out, self.own_log.open("ab") as err:
            self.process = stage.start("gateway " + name, command, self.port, stdout=out, stderr=err,
                                       env=os.environ | configs.ENVIRONMENT)
        self.process.wait_until_it_listens()
        self.pid = self.process.popen.pid
        self.wait_until_ready()

    def write_config(self):
        path = self.folder / "config.toml"
        text = configs.gateway(self.name, self.ports, self.disk, self.folder, self.reloads)
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").rename(path)

    def wait_until_ready(self):
        for _ in range(100):
            with contextlib.suppress(OSError):
                if '"ready":true' in fetch(self.admin, "/readyz").replace(" ", ""):
                    return
            time.sleep(0.1)
        raise SystemExit(f"the gateway {self.name} is not ready")

    def on_disk(self, name):
        """The path of a file on its small disk, for this process."""
        return pathlib.Path(f"/proc/{self.pid}/root") / str(self.disk / name).lstrip("/")

    def fill_disk(self):
        with self.on_disk("fill").open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def clear_disk(self):
        self.on_disk("fill").unlink()

    def has_ended(self):
        return self.process.popen.poll() is not None


class Stage(processes.Stage):
    def __init__(self, args, folder):
        super().__init__()
        self.folder = pathlib.Path(folder)
        names = ["simulator", "redis", *(name + end for name in configs.GATEWAYS for end in ("", "-admin"))]
        self.ports = {name: free_port() for name in names}
        with (self.folder / "simulator.log").open("ab") as log:
            self.simulator = self.start(
                "simulator", [args.simulator, "simulate", "--listen", f"127.0.0.1:{self.ports['simulator']}",
                              "--token-ms", "2", "--seed", args.seed], self.ports["simulator"], stdout=log, stderr=log)
        self.simulator.wait_until_it_listens()
        self.redis = Redis(self, self.folder / "redis", self.ports["redis"])
        self.gateways = [Gateway(self, name, args.binary, self.folder / name, self.ports)
                         for name in configs.GATEWAYS]

    def control(self, method, path, body=None):
        return fetch(self.ports["simulator"], "/_sim/" + path, method, body)


def fetch(port, path, method="GET", body=None, timeout=20):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, method=method)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.read().decode()
