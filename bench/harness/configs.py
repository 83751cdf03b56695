"""The configs that are measured; each is printed to standard error when its process starts."""

import hashlib
import sys

REGION = "us-east-1"
BEARER = "bench-client-key-0123456789"
CLIENT_KEY, CLIENT_SECRET = "SLUICEBENCHCLIENT", "bench-client-secret-0123456789"
ENVIRONMENT = {
    "SLUICE_BENCH_KEY": "AKIDBENCH",
    "SLUICE_BENCH_SECRET": "bench-upstream-secret-0123456789",
    "SLUICE_BENCH_CLIENT_SECRET": CLIENT_SECRET,
    "SLUICE_BENCH_TOKEN": "bench-upstream-token-0123456789",
}
MODELS = [
    ("sonnet", "us.anthropic.claude-sonnet-5-5", 8192),
    ("sonnet-5", "us.anthropic.claude-sonnet-5", 8192),
    ("sonnet-46", "us.anthropic.claude-sonnet-4-6", 4096),
    ("haiku", "us.anthropic.claude-haiku-5-5", 4096),
]
# Those that Chat Completions is asked for.
CHAT_MODELS = [
    ("gpt-oss", "openai.gpt-oss-120b-1:0", 8192),
    ("gpt-oss-small", "openai.gpt-oss-20b-1:0", 8192),
    ("gpt", "us.openai.gpt-5.6-sol", 8192),
    ("grok", "us.xai.grok-4.7", 8192),
]
# Those that Messages are translated for.
NOVA = [
    ("nova-2-lite", "us.amazon.nova-2-lite-v1:0", 8192),
    ("nova-lite", "us.amazon.nova-lite-v1:0", 4096),
    ("nova-pro", "us.amazon.nova-pro-v1:0", 4096),
    ("nova-premier", "us.amazon.nova-premier-v1:0", 8192),
]
# Quotas that are kept to and never reached.
RPM, TPM = 10_000_000, 100_000_000_000
# Prices in USD for a million tokens, a day's budget that is never reached, and what an answer of 250 tokens
# in and 200 out costs, which is what the upstream says of each.
INPUT_USD, OUTPUT_USD, BUDGET_USD = 3.0, 15.0, 1_000_000
COST_USD = (250 * INPUT_USD + 200 * OUTPUT_USD) / 1e6


def many_models(count):
    return [(f"target-{n}", f"anthropic.bench-{n}-v1:0", 4096) for n in range(count)]


def bearer_of(number):
    return f"{BEARER}-{number}"


def bearer_clients(count, rpm=RPM):
    """Clients known by bearer keys, each with limits of its own."""
    return [
        f'[[clients]]\nname = "client-{n}"\n'
        f'bearer_token = "sha256:{hashlib.sha256(bearer_of(n).encode()).hexdigest()}"\n'
        f"rpm = {rpm}\ntpm = {TPM}\nmax_concurrent = 100000\n"
        for n in range(count)
    ]


def client_with_budgets(file, rpm=RPM):
    """A client known by a bearer key, with limits and budgets of its own, whose sums are in this file, if any."""
    client = bearer_clients(1, rpm)[0]
    return [
        f'[state]\nbudget_path = "{file}"\n' if file else "",
        f'[prices."anthropic.claude-*"]\ninput = {INPUT_USD}\noutput = {OUTPUT_USD}\n',
        f"{client}daily_budget_usd = {BUDGET_USD}\nmonthly_budget_usd = {10 * BUDGET_USD}\n",
    ]


def signing_client():
    """A client known by its signature, with limits of its own."""
    return [
        f'[[clients]]\nname = "client-0"\naccess_key_id = "{CLIENT_KEY}"\n'
        'secret_access_key = "env:SLUICE_BENCH_CLIENT_SECRET"\n'
        f"rpm = {RPM}\ntpm = {TPM}\nmax_concurrent = 100000\n"
    ]


def open_to_all():
    """No one must show who they are; limits of the same kinds for each access key."""
    return [f"[limits]\nrequests_per_second = {RPM // 60}\ntokens_per_minute = {TPM}\n"
            "max_concurrent = 100000\n"]


def gateway(port, admin, upstream, workers, models, clients, signs=True):
    """`upstream` is a URL. With `signs` requests go out signed; without, they show a bearer key."""
    keys = ('access_key_id = "env:SLUICE_BENCH_KEY"\nsecret_access_key = "env:SLUICE_BENCH_SECRET"\n'
            if signs else 'bearer_token = "env:SLUICE_BENCH_TOKEN"\n')
    parts = [
        f'[server]\nlisten = "127.0.0.1:{port}"\nadmin_listen = "127.0.0.1:{admin}"\n'
        f"worker_threads = {workers}\nmax_connections = 20000\nmax_in_flight = 20000\n",
        f'[upstream]\nregion = "{REGION}"\nendpoint_url = "{upstream}"\n'
        'forward_headers = ["x-bench-check", "x-bench-frames"]\n' + keys,
        '[log]\nformat = "json"\nlevel = "warn"\naccess = true\n',
    ]
    parts += [
        f'[targets.{name}]\nmodel = "{model}"\nmax_output_tokens = {cap}\nrpm = {RPM}\ntpm = {TPM}\n'
        for name, model, cap in models
    ]
    for at in range(0, len(models), 4):
        names = ", ".join(f'"{name}"' for name, _, _ in models[at:at + 4])
        parts.append(f'[[routes]]\nmodels = ["{models[at][1]}"]\ntargets = [{names}]\n')
    return "\n".join(parts + clients)


def nginx(folder, port, upstream, workers, log):
    """A plain reverse proxy as one who knows nginx would have it: connections kept on both sides."""
    access = f"{folder}/access.log" if log else "off"
    return f"""\
daemon off;
worker_processes {workers};
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log stderr error;
events {{
  worker_connections 4096;
}}
http {{
  access_log {access};
  keepalive_requests 100000000;
  client_max_body_size 32m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream bedrock {{
    server 127.0.0.1:{upstream};
    keepalive 128;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} reuseport;
    location / {{
      proxy_pass http://bedrock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


SHOWN = set()


def show(name, text):
    """Prints a config once, a long one in part."""
    if name in SHOWN:
        return
    SHOWN.add(name)
    lines = text.splitlines()
    kept = lines if len(lines) <= 90 else [*lines[:45], f"... {len(lines) - 60} lines ...", *lines[-15:]]
    print(f"<!-- config of {name}:", *kept, "-->\n", sep="\n", file=sys.stderr)
