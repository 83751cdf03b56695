"""The profile for the compiler: counts which branches run while the gateway does what the benchmarks measure.

Beside their workloads there are TLS and HTTP/2, on both sides: a gateway in front of another.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import tempfile

from . import binaries, configs, processes, translated, workloads
from .callgrind import Settings
from .load import Load
from .scene import Scene

OUT = binaries.ROOT / "deploy/release/sluice.profdata"
REQUESTS, LARGE, STREAMS = 20_000, 300, 192
TLS_REQUESTS = 2000


def build(raw, target):
    """The gateway with counters, which each process writes to `raw` at its end."""
    return binaries.cargo(["--bin", "sluice", "--target-dir", target],
                          {"CARGO_ENCODED_RUSTFLAGS": f"-Cprofile-generate={raw}"})["sluice"]


def whole(scene):
    """Requests with whole answers: of all APIs, passed on and translated, with limits and budgets."""
    scene.put_up_upstream()
    clients = configs.client_with_budgets(scene.folder / "budgets.db")
    gateway = scene.gateway("the gateway", configs.MODELS + configs.CHAT_MODELS + configs.NOVA, clients)
    works = [(workloads.invoke(1024, "1 KB"), REQUESTS), (workloads.invoke(1 << 20, "1 MB"), LARGE),
             (workloads.chat_completion(), REQUESTS // 2), (workloads.messages(), REQUESTS // 2),
             (translated.chat(), REQUESTS // 4), (translated.messages(), REQUESTS // 4)]
    for work, count in works:
        drive(scene, gateway, work, workloads.bearer(), count)
    signing = scene.gateway("the gateway, a client that signs", configs.MODELS, configs.signing_client())
    drive(scene, signing, workloads.invoke(1024, "1 KB"), workloads.signed, REQUESTS // 4)
    open_to_all = scene.gateway("the gateway, open to all", configs.MODELS, configs.open_to_all(), signs=False)
    drive(scene, open_to_all, workloads.invoke(1024, "1 KB"), workloads.bearer(), REQUESTS // 4)


def streams(scene):
    """Streams of all APIs, passed on and translated."""
    scene.put_up_upstream("--frames", workloads.FRAMES)
    gateway = scene.gateway("the gateway, streams", configs.MODELS + configs.CHAT_MODELS + configs.NOVA,
                            configs.bearer_clients(1))
    for work in [workloads.stream(96), workloads.chat_stream(96), workloads.messages_stream(96),
                 translated.chat_stream(96), translated.messages_stream(96)]:
        drive(scene, gateway, work, workloads.bearer(), STREAMS)


def drive(scene, gateway, work, headers, count):
    if work.translated:
        work.check(gateway.port, headers)
    scene.load.drive(gateway.port, work, headers, count)


def tls(scene):
    """TLS and HTTP/2 from the client, and TLS to the upstream, which is a second gateway."""
    scene.put_up_upstream()
    key, certificate = scene.folder / "key.pem", scene.folder / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"],
                   check=True, stderr=subprocess.DEVNULL)
    shown = f'[server.tls]\ncert = "{certificate}"\nkey = "{key}"\n'
    behind = scene.gateway("the gateway behind", configs.MODELS, [*configs.open_to_all(), shown])
    # No other gateway is started after this one.
    os.environ["SLUICE__UPSTREAM__CA_FILE"] = str(certificate)
    front = scene.gateway("the gateway in front", configs.MODELS, [*configs.bearer_clients(1), shown],
                          upstream=f"https://localhost:{behind.port}")
    work = workloads.invoke(1024, "1 KB")
    body = scene.folder / "body.json"
    body.write_bytes(work.body)
    for version in ("--http1.1", "--http2"):
        command = ["curl", "--silent", "--show-error", "--fail", "--fail-early", "--max-time", "60",
                   "--cacert", certificate, version, "--parallel", "--parallel-max", "16",
                   "--data-binary", f"@{body}", "--output", os.devnull]
        for header in workloads.bearer()(work, front.port):
            command += ["--header", header]
        url = f"https://localhost:{front.port}{work.path}?[1-{TLS_REQUESTS}]"
        subprocess.run([*command, url], check=True)


def main(about):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--binary", type=pathlib.Path, help="a gateway with counters")
    parser.add_argument("--raw", type=pathlib.Path, help="where that one writes its counts")
    args = parser.parse_args()
    tool = next(filter(shutil.which, [*(f"llvm-profdata-{it}" for it in range(40, 18, -1)), "llvm-profdata"]), None)
    if not tool:
        raise SystemExit("llvm-profdata is not installed")
    processes.end_in_order()
    with tempfile.TemporaryDirectory(prefix="sluice-profile-") as folder:
        folder = pathlib.Path(folder)
        raw = args.raw or folder / "raw"
        sluice = args.binary or build(raw, folder / "target")
        built = binaries.already_built() if args.binary else binaries.cargo(
            ["--example", "fixed_upstream", "--example", "load"])
        load = Load(built["load"], folder)
        for train in (whole, streams, tls):
            with Scene(Settings(sluice.absolute(), built), load, folder) as scene:
                train(scene)
        counts = sorted(raw.glob("*.profraw"))
        if not counts:
            raise SystemExit(f"no counts are in {raw}")
        subprocess.run([tool, "merge", "--sparse", "--output", OUT, *counts], check=True)
    print(f"{OUT.relative_to(binaries.ROOT)}: {OUT.stat().st_size / 1e6:.1f} MB from {len(counts)} processes")
