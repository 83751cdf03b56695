"""Puts up what a row needs: upstream, proxies and gateways, each of them shown by its config."""

import contextlib
import os
import pathlib
import tempfile

from . import configs, processes
from .rounds import Rounds


class Scene(processes.Stage):
    """One row's processes. `settings` says how long and how often, and where the binaries are."""

    def __init__(self, settings, load, folder):
        super().__init__()
        self.settings, self.load, self.folder = settings, load, pathlib.Path(folder)
        self.upstream = None
        self.logs = {}
        # Configs of gateways, by the number of starts.
        self.started = 0

    def put_up_upstream(self, *more, cores=None):
        port = processes.free_port()
        command = [self.settings.binaries["fixed_upstream"], "--listen", f"127.0.0.1:{port}", *more]
        self.upstream = self.start("upstream", command, port, cores)
        self.upstream.wait_until_it_listens()
        return self.upstream

    def bare_proxy(self, *more, workers=None):
        port = processes.free_port()
        command = [self.settings.binaries["bare_proxy"], "--listen", f"127.0.0.1:{port}",
                   "--upstream", f"127.0.0.1:{self.upstream.port}", *more]
        env = dict(os.environ, TOKIO_WORKER_THREADS=str(workers or self.settings.workers))
        proxy = self.start("bare proxy", command, port, env=env)
        proxy.wait_until_it_listens()
        return proxy

    def gateway(self, name, models, clients, workers=None, cores=None, signs=True, upstream=None):
        """A gateway whose access log goes to a file, which is gone with it. `upstream` is the URL of another upstream
        than the scene's."""
        port, admin = processes.free_port(), processes.free_port()
        upstream = upstream or f"http://127.0.0.1:{self.upstream.port}"
        text = configs.gateway(port, admin, upstream, workers or self.settings.workers, models, clients, signs)
        configs.show(name, text)
        self.started += 1
        path = self.folder / f"gateway-{self.started}.toml"
        path.write_text(text)
        log = path.with_suffix(".log")
        self.callback(log.unlink)
        with log.open("ab") as out:
            process = self.start(name, [self.settings.binaries["sluice"], "serve", "--config", path],
                                 port, cores, env=os.environ | configs.ENVIRONMENT, stdout=out)
        process.admin = admin
        process.ready_s = process.wait_until_it_listens(limit_s=60)
        self.logs[process.popen.pid] = log
        return process

    def plain_gateway(self, **more):
        return self.gateway("the gateway", configs.MODELS, configs.bearer_clients(1), **more)

    def nginx(self, binary, log=False):
        # The scenes of a run share their folder.
        folder = pathlib.Path(tempfile.mkdtemp(prefix="nginx-", dir=self.folder))
        # Its workers, which are nobody when it is started by root, put large bodies there.
        self.folder.chmod(0o755)
        folder.chmod(0o777)
        port = processes.free_port()
        text = configs.nginx(folder, port, self.upstream.port, self.settings.workers, log)
        name = "nginx, access log on" if log else "nginx"
        configs.show(name, text)
        path = folder / "nginx.conf"
        path.write_text(text)
        process = self.start(name, [binary, "-p", folder, "-c", path], port)
        process.wait_until_it_listens()
        return process

    def rounds(self, seconds=None, count=None):
        settings = self.settings
        return Rounds(self.load, self.upstream, count or settings.rounds,
                      seconds or settings.seconds)

    def lines_missing(self, side):
        """Requests of a gateway that have no line in its access log."""
        with contextlib.suppress(KeyError), self.logs[side.process.popen.pid].open("rb") as log:
            return side.requests - sum(chunk.count(b"\n") for chunk in iter(lambda: log.read(1 << 20), b""))
        return 0
