"""The configs of the two gateways. Each reload changes what a reload can change.

The gateways share one Redis as a fleet. `one` keeps budgets and responses in Redis and jobs in a file;
`two` keeps jobs in Redis, and budgets, responses and its usage log on its small disk.
"""

import hashlib

REGION = "us-east-1"
SIMULATOR_SECRET = "simulator-secret-key"
RESPONSE_KEYS = {"SOAK_RESPONSE_KEY_0": "first-key-that-encrypts-responses-0123456789",
                 "SOAK_RESPONSE_KEY_1": "second-key-that-encrypts-responses-012345678"}
ENVIRONMENT = {"SOAK_SECRET": SIMULATOR_SECRET, "SOAK_ID_KEY": "key-of-ids-that-is-long-enough-0123456789",
               **RESPONSE_KEYS}
GATEWAYS = ["one", "two"]
# Of one disk. SQLite's files and the usage log of `two` take about a quarter.
DISK_BYTES = 24 * 1024 * 1024

CLAUDE, SONNET, SONNET_46, HAIKU = ("us.anthropic.claude-sonnet-5-5", "us.anthropic.claude-sonnet-5",
                                    "us.anthropic.claude-sonnet-4-6", "us.anthropic.claude-haiku-5-5")
NOVA, NOVA_PRO = "us.amazon.nova-2-lite-v1:0", "us.amazon.nova-pro-v1:0"
GPT, GPT_OSS = "us.openai.gpt-5.6-sol", "openai.gpt-oss-120b-1:0"
TITAN, COHERE = "amazon.titan-embed-text-v2:0", "cohere.embed-english-v3"
TARGETS = {"claude": CLAUDE, "sonnet": SONNET, "sonnet-46": SONNET_46, "haiku": HAIKU, "nova": NOVA,
           "nova-pro": NOVA_PRO, "gpt": GPT, "gpt-oss": GPT_OSS, "titan": TITAN, "cohere": COHERE}
# Those that change with reloads. One comes and goes.
VISITOR = "visitor"
ROUTES = [(CLAUDE, ["claude", "sonnet", "sonnet-46", "haiku"]), (NOVA, ["nova", "nova-pro"]),
          (SONNET_46, ["sonnet-46"]),
          ("mixed", ["haiku", "nova-pro", "nova"]), (GPT, ["gpt"]), (GPT_OSS, ["gpt-oss"]),
          ("titan", ["titan"]), ("cohere", ["cohere"])]

# Each client is for one purpose, so that its books can be told apart:
#   steady    stays until its answers end
#   leaver    gives up half-way
#   storer    has its responses stored by the upstream, and reads them again
#   embedder  asks for embeddings, whose calls have lines of their own in the log
#   legacy    calls the legacy endpoints
#   poor      has a budget that is soon used up
#   capped    has a rate that it exceeds, without a budget
BUDGETS = {"steady": 1_000_000, "leaver": 1_000_000, "storer": 1_000_000, "embedder": 1_000_000,
           "legacy": 1_000_000, "poor": 0.05, "capped": None}
CAPPED_RPM = 40
# Soon used up by both gateways together, so that requests wait in the queue.
TIGHT_RPM = 240


def key_of(client):
    return f"soak-key-of-{client}-0123456789"


def client(name, turn):
    lines = ["[[clients]]", f'name = "{name}"',
             f'bearer_token = "sha256:{hashlib.sha256(key_of(name).encode()).hexdigest()}"']
    if BUDGETS[name] is not None:
        lines.append(f"daily_budget_usd = {BUDGETS[name]}")
    if name == "capped":
        lines.append(f"rpm = {CAPPED_RPM + turn % 3}")
    else:
        lines.append(f"rpm = {1_000_000 + turn % 5}")
    return "\n".join(lines) + "\n"


def target(name, model, turn):
    rpm = TIGHT_RPM if name == "nova" else 60_000 + turn % 4
    return (f'[targets.{name}]\nmodel = "{model}"\ncooldown = "1s"\n'
            f"rpm = {rpm}\ntpm = 200000000\n")


def gateway(name, ports, disk, folder, turn):
    """The config of a gateway after so many reloads; `ports` has those of all processes by name."""
    redis = f"redis://127.0.0.1:{ports['redis']}/0"
    # The newest key encrypts, and the other one still decrypts.
    keys = sorted(RESPONSE_KEYS, reverse=turn % 8 >= 4)
    targets = dict(TARGETS) | ({VISITOR: SONNET} if turn % 3 == 1 else {})
    routes = [(model, names + [VISITOR] * (VISITOR in targets and model == CLAUDE)) for model, names in ROUTES]
    parts = [
        f'[server]\nlisten = "127.0.0.1:{ports[name]}"\nadmin_listen = "127.0.0.1:{ports[name + "-admin"]}"\n'
        'request_timeout = "10s"\nconfig_poll_interval = "0s"\nworker_threads = 2\n',
        f'[upstream]\nregion = "{REGION}"\nendpoint_url = "http://127.0.0.1:{ports["simulator"]}"\n'
        'access_key_id = "AKIDSIMULATOR"\nsecret_access_key = "env:SOAK_SECRET"\n'
        'first_byte_timeout = "2s"\nidle_timeout = "2s"\npool_idle_timeout = "2s"\n',
        '[fallback]\neject_cooldown = "1s"\nmisconfigured_cooldown = "1s"\ndaily_cooldown = "2s"\n'
        'unrouted = "reject"\n',
        f'[retry]\nbase_delay = "20ms"\nmax_delay = "{80 + turn % 7}ms"\n',
        # Who is throttled here is thrown by dice, so there are no quotas to be found.
        "[learning]\nenabled = false\n",
        '[queue]\nmax_wait = "2s"\n',
        '[apis]\non_unsupported = "drop"\n',
        '[apis.responses]\nid_key = "env:SOAK_ID_KEY"\n',
        '[legacy]\nmodels = ["claude", "haiku", "nova"]\nsession_ttl = "60s"\nmax_tokens = 60\n'
        'endpoints = ["health", "analysis", "chat", "test", "tasks", "models"]\n',
        f'[log]\naccess = true\nformat = "json"\nlevel = "{["info", "warn"][turn % 2]}"\n',
        jobs(name, redis, disk),
        "[state]\nbackend = \"redis\"\n" + (f'redis_url = "{redis}"\n' if name == "one"
                                            else f'budget_path = "{disk}/budgets.db"\n'),
        f'[response_store]\nttl = "90s"\nkeys = [{", ".join(chr(34) + "env:" + key + chr(34) for key in keys)}]\n'
        + (f'backend = "redis"\nredis_url = "{redis}"\n' if name == "one"
           else f'backend = "sqlite"\npath = "{disk}/responses.db"\n'),
        "[usage_log]\nenabled = true\n" + (f'path = "{folder}/usage.jsonl"\nmax_size = "1GB"\n' if name == "one"
                                           else f'path = "{disk}/usage.jsonl"\nmax_size = "1MB"\n'),
    ]
    parts += [target(*item, turn) for item in targets.items()]
    parts += [f'[[routes]]\nmodels = ["{model}"]\ntargets = [{", ".join(chr(34) + n + chr(34) for n in names)}]\n'
              for model, names in routes]
    parts += [client(name, turn) for name in BUDGETS]
    return "\n".join(parts)


def jobs(name, redis, disk):
    where = f'backend = "sqlite"\npath = "{disk}/jobs.db"\n' if name == "one" else (
        f'backend = "redis"\nredis_url = "{redis}"\n')
    return ("[jobs]\n" + where + 'result_ttl = "2m"\nretry_max_delay = "1s"\nmax_waiting = 50\n'
            "analysis_per_minute = 100000\nchat_per_minute = 100000\ntest_per_minute = 100000\n")
