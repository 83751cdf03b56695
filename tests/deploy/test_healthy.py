"""No alert fires for a healthy gateway: a real Prometheus evaluates the shipped alerts over gateways
that run with the shipped configs. A gateway whose Redis is down shows that the alerts do fire.

All durations of the rules are divided by SPEED, so that days pass within a minute or two."""

import contextlib
import json
import pathlib
import re
import tempfile
import threading
import time
import tomllib
import unittest
import urllib.parse

import yaml

import tools
from test_files import Image
from tools import CHART, DEPLOY, ROOT, SIMULATOR_KEY, SLUICE

SPEED = 60
# Longer than the longest `for`, which is an hour, and than the longest window before it: six hours
# and three days are of recording rules, whose rates need no full window.
SECONDS = 75
# A window has several scrapes, and one scrape that is late on a busy machine is no alert.
SHORTEST_WINDOW = 5
SHORTEST_FOR = 5

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION = r"(\d+)([smhd])"


def shortened(seconds, shortest):
    return f"{max(int(seconds) // SPEED, shortest)}s"


def seconds_of(duration):
    number, unit = re.fullmatch(DURATION, duration).groups()
    return int(number) * UNITS[unit]


def expression_of(text):
    """An expression with shorter windows, steps of subqueries and offsets."""
    text = re.sub(rf"\[{DURATION}(:?)({DURATION})?\]", lambda found: "[{}{}{}]".format(
        shortened(seconds_of(found[1] + found[2]), SHORTEST_WINDOW), found[3], "1s" if found[4] else ""), text)
    return re.sub(rf"offset ({DURATION})", lambda found: "offset " + shortened(
        seconds_of(found[1]), SHORTEST_WINDOW), text)


def shorter_rules():
    """The shipped rules, with shorter durations."""
    rules = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = expression_of(rule["expr"])
            if "for" in rule:
                rule["for"] = shortened(seconds_of(rule["for"]), SHORTEST_FOR)
    return rules


class Gateways:
    """Gateways in front of one simulator, each a job of one Prometheus."""

    def __init__(self, stack, folder):
        self.stack, self.folder = stack, pathlib.Path(folder)
        self.bedrock = stack.enter_context(tools.simulator("--head-ms", "20", "--token-ms", "1"))
        self.redis = tools.free_port()
        process = self.start([tools.found("redis-server"), "--port", self.redis, "--bind", "127.0.0.1",
                              "--save", "", "--dir", self.folder], "redis")
        tools.until(lambda: tools.listens(self.redis), process)
        self.gateways = {}

    def start(self, command, name, **keywords):
        log = self.stack.enter_context(open(self.folder / f"{name}.log", "wb"))
        return self.stack.enter_context(tools.running(*command, log=log, **keywords))

    def add(self, job, config=None, **env):
        """Starts a gateway with the text of a config, or without a file."""
        folder = self.folder / job
        folder.mkdir()
        command = [SLUICE, "serve"]
        if config is not None:
            (folder / "config.toml").write_text(config)
            command += ["--config", folder / "config.toml"]
        api, admin = tools.free_port(), tools.free_port()
        env = tools.bare_environment() | SIMULATOR_KEY | {
            "AWS_REGION": "us-east-1",
            "SLUICE__UPSTREAM__ENDPOINT_URL": f"http://127.0.0.1:{self.bedrock}",
        } | env | {
            "SLUICE__SERVER__LISTEN": f"127.0.0.1:{api}",
            "SLUICE__SERVER__ADMIN_LISTEN": f"127.0.0.1:{admin}",
        }
        process = self.start(command, job, env=env, cwd=folder)
        tools.until(lambda: tools.request(admin, "GET", "/readyz")[0] == 200, process)
        self.gateways[job] = (process, api, admin)

    def model_of(self, job):
        """A model that the gateway's config serves."""
        _, _, admin = self.gateways[job]
        return json.loads(tools.request(admin, "GET", "/admin/targets")[1])["targets"][0]["model"]

    def watch(self):
        """Starts the Prometheus of compose.yaml, with the shorter rules and these gateways."""
        rules = self.folder / "alerts.yaml"
        rules.write_text(yaml.safe_dump(shorter_rules()))
        config = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(rules)]
        shipped = config["scrape_configs"][0]
        shipped.pop("dns_sd_configs")
        config["scrape_configs"] = [
            shipped | {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{admin}"]}]}
            for job, (_, _, admin) in self.gateways.items()]
        file = self.folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        self.prometheus = tools.free_port()
        process = self.start([tools.found("PROMETHEUS"), f"--config.file={file}",
                              f"--storage.tsdb.path={self.folder / 'tsdb'}",
                              f"--web.listen-address=127.0.0.1:{self.prometheus}"], "prometheus")
        tools.until(lambda: tools.request(self.prometheus, "GET", "/-/ready")[0] == 200, process)

    def ask(self, expression):
        query = urllib.parse.urlencode({"query": expression})
        status, body = tools.request(self.prometheus, "GET", f"/api/v1/query?{query}")
        if status != 200:
            raise AssertionError(f"{expression}: {body}")
        return json.loads(body)["data"]["result"]

    def alerts(self, state):
        """The alerts that were in this state at any time: job and name."""
        expression = f'count by (job, alertname) (count_over_time(ALERTS{{alertstate="{state}"}}[10m]))'
        return {(sample["metric"].get("job"), sample["metric"]["alertname"])
                for sample in self.ask(expression)}

    def use(self, job, statuses, until):
        """A question every few seconds, as a quiet day has them."""
        _, api, _ = self.gateways[job]
        model = self.model_of(job)
        while time.monotonic() < until:
            statuses.append((job, tools.converse(api, model)))
            time.sleep(3)


@tools.needs("PROMETHEUS", "redis-server")
class HealthyRun(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        gateways = Gateways(stack, stack.enter_context(tempfile.TemporaryDirectory()))
        redis = f"redis://127.0.0.1:{gateways.redis}"
        gateways.add("shipped", (ROOT / "config.toml").read_text())
        for file in sorted((ROOT / "examples").glob("*.toml")):
            text = file.read_text()
            # A secret of an example is any text of this length.
            names = re.findall(r'"env:([A-Z0-9_]+)"', text)
            gateways.add(f"example-{file.stem}", text.replace("redis://redis:6379", redis),
                         **{name: "filled-by-a-secret-0123456789" for name in names})
        compose = (DEPLOY / "compose" / "sluice" / "config.toml").read_text()
        key_file = str(gateways.folder / "admin-key")
        gateways.add("compose", compose.replace("redis://redis:6379", redis),
                     **Image().env | {"SLUICE__SERVER__ADMIN_KEY_FILE": key_file})
        gateways.add("environment")
        gateways.add("celery", USE_CELERY="true", REDIS_URL=f"{redis}/1")
        gateways.add("fleet", f'[state]\nbackend = "redis"\nredis_url = "{redis}/2"\n'
                     + tables(ROOT / "config.toml"))
        gateways.add("broken", USE_CELERY="true", REDIS_URL=f"redis://127.0.0.1:{tools.free_port()}/0")
        gateways.watch()
        cls.gateways, cls.statuses = gateways, []
        end = time.monotonic() + SECONDS
        users = [threading.Thread(target=gateways.use, args=(job, cls.statuses, end))
                 for job in gateways.gateways]
        for user in users:
            user.start()
        for user in users:
            user.join()

    def test_the_run_was_healthy(self):
        self.assertGreater(len(self.statuses), 10 * len(self.gateways.gateways))
        self.assertEqual({status for _, status in self.statuses}, {200}, self.statuses)
        self.assertEqual({sample["metric"]["job"] for sample in self.gateways.ask("up == 1")},
                         set(self.gateways.gateways))

    def test_no_alert_fires_or_is_about_to(self):
        for state in ("firing", "pending"):
            found = {(job, alert) for job, alert in self.gateways.alerts(state) if job != "broken"}
            self.assertEqual(found, set(), state)

    def test_an_alert_fires_for_a_gateway_that_is_not_healthy(self):
        self.assertEqual({alert for job, alert in self.gateways.alerts("firing") if job == "broken"},
                         {"SluiceDependencyDown"})

    def test_every_dependency_that_is_shown_is_used(self):
        def shown(job):
            return {sample["metric"]["dependency"]: sample["value"][1]
                    for sample in self.gateways.ask(f'sluice_dependency_up{{job="{job}"}}')}
        self.assertEqual(shown("shipped"), {"credentials": "1"})
        self.assertEqual(shown("environment"), {"credentials": "1"})
        self.assertEqual(shown("compose"), {"credentials": "1", "job_queue": "1"})
        self.assertEqual(shown("celery"), {"credentials": "1", "job_queue": "1"})
        self.assertEqual(shown("fleet"), {"credentials": "1", "redis": "1"})


def tables(file):
    """The targets and routes of a config file."""
    config = tomllib.loads(file.read_text())
    lines = []
    for name, target in config["targets"].items():
        lines += [f"[targets.{name}]", f"model = {json.dumps(target['model'])}"]
    for route in config["routes"]:
        lines += ["[[routes]]", f"models = {json.dumps(route['models'])}", f"targets = {json.dumps(route['targets'])}"]
    return "\n".join(lines)


class Shorter(unittest.TestCase):
    def test_windows_steps_and_offsets_become_shorter(self):
        self.assertEqual(expression_of("rate(a[10m]) + b[1h] unless c offset 30m"),
                         "rate(a[10s]) + b[60s] unless c offset 30s")
        self.assertEqual(expression_of("avg_over_time((a == bool 2)[30m:1m])"),
                         "avg_over_time((a == bool 2)[30s:1s])")
        self.assertEqual(expression_of("rate(a[1m]) > 7 * 86400"), "rate(a[5s]) > 7 * 86400")


if __name__ == "__main__":
    unittest.main()
