"""Alerts and dashboard: against the source that has the metrics, by promtool, and by a real Prometheus
that scrapes a real gateway. The gateway, Redis and Prometheus run as deploy/compose says, but for
their addresses; Docker itself is not needed."""

import contextlib
import json
import pathlib
import re
import signal
import tempfile
import threading
import unittest
import urllib.parse

import yaml
from prometheus_client.parser import text_string_to_metric_families as text_families

import tools
from tools import CHART, DEPLOY, ROOT, SLUICE

ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
SONNET, HAIKU = "us.anthropic.claude-sonnet-5-5", "us.anthropic.claude-haiku-5-5"

# What the run below does not bring about, and so has no data, by metric.
NOT_IN_THE_RUN = {
    "sluice_authentications_total": "the config has no clients",
    "sluice_client_budget_used_ratio": "no client has a budget",
    "sluice_client_key_expiry_seconds": "the config has no clients",
    "sluice_credentials_expiry_seconds": "its keys have no end",
    "sluice_connections_ended_total": "nobody is slow or breaks the protocol",
    "sluice_mock_answers_total": "mock answers are off",
    "sluice_model_retirement_seconds": "AWS serves its models without an end",
    "sluice_tls_certificate_expiry_seconds": "the listener speaks in the clear",
    "sluice_tls_handshake_failures_total": "the listener speaks in the clear",
    "sluice_tls_reloads_total": "the listener speaks in the clear",
}


def rules():
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries():
    """The dashboard's queries: panel and expression."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def metrics_of(expression):
    """Names of metrics in a query, without what recording rules make."""
    without_labels = re.sub(r"\{[^}]*\}", "", expression)
    return set(re.findall(r"\b(?:sluice_[a-z0-9_]+|process_[a-z_]+)\b", without_labels))


def family(name):
    return re.sub(r"_(bucket|sum|count)$", "", name)


class Source(unittest.TestCase):
    """What is asked for is what the gateway has."""

    @classmethod
    def setUpClass(cls):
        telemetry = sorted((ROOT / "src" / "telemetry").glob("*.rs"))
        cls.source = "".join(file.read_text() for file in telemetry)
        cls.families = set(re.findall(r'"((?:sluice|process)_[a-z0-9_]+)"', cls.source))

    def expressions(self):
        yield from (rule["expr"] for rule in rules())
        yield from (expression for _, expression in queries())

    def test_every_metric_is_one_of_the_gateways(self):
        for expression in self.expressions():
            for name in metrics_of(expression):
                self.assertIn(family(name), self.families, expression)

    def test_every_outcome_is_one_of_the_gateways(self):
        known = set()
        for file in ("telemetry/outcome.rs", "upstream/classify.rs"):
            known |= set(re.findall(r'=> "([a-z_]+)"', (ROOT / "src" / file).read_text()))
        known |= {"success", "done", "failed"}
        named = set()
        for expression in self.expressions():
            for values in re.findall(r'outcome(?:=|=~|!=)"([^"]*)"', expression):
                named |= set(values.split("|"))
        self.assertGreater(len(named), 10)
        self.assertLessEqual(named, known)

    def test_every_alert_has_its_words_its_test_and_its_page(self):
        tested = yaml.safe_load((CHART / "files" / "alerts.test.yaml").read_text())["tests"]
        firing = {case["alertname"] for test in tested for case in test.get("alert_rule_test", [])
                  if case["exp_alerts"]}
        page = (ROOT / "docs" / "alerts.md").read_text()
        names = [rule["alert"] for rule in alerts()]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(set(names), firing)
        self.assertEqual(names, re.findall(r"^## (Sluice\w+)$", page, re.M))
        for rule in alerts():
            self.assertEqual(set(rule["annotations"]), {"summary", "description", "runbook"})
            self.assertEqual(rule["annotations"]["runbook"], f"docs/alerts.md#{rule['alert'].lower()}")
            self.assertIn(rule["labels"]["severity"], {"critical", "warning", "info"})

    def test_the_dashboard_holds_together(self):
        dashboard = json.loads(DASHBOARD.read_text())
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        variables = {variable["name"] for variable in dashboard["templating"]["list"]}
        self.assertEqual(variables, {"datasource", "namespace", "job", "instance"})
        covered = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & covered, f"{panel['title']} lies on another panel")
            covered |= cells
        for panel in panels():
            self.assertTrue(panel["description"], panel["title"])
            self.assertEqual(panel["datasource"]["uid"], "${datasource}")
            for target in panel["targets"]:
                for name in ("namespace", "job", "instance"):
                    self.assertIn(f'{name}=~"${name}"', target["expr"])


@tools.needs("PROMTOOL")
class Rules(unittest.TestCase):
    def test_rules_are_right(self):
        checked = tools.call(tools.found("PROMTOOL"), "check", "rules", ALERTS)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_rules_do_what_their_tests_say(self):
        tested = tools.call(tools.found("PROMTOOL"), "test", "rules", CHART / "files" / "alerts.test.yaml")
        self.assertEqual(tested.returncode, 0, tested.stdout + tested.stderr)


def compose():
    """The services of compose.yaml with demo.yaml on top, as `docker compose` merges them."""
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    over = yaml.safe_load((DEPLOY / "compose" / "demo.yaml").read_text())["services"]
    services["simulator"] = over["simulator"]
    services["sluice"]["environment"] = over["sluice"]["environment"]
    return services


class Fleet:
    """The parts of compose.yaml as processes of this machine, each address replaced by a free port."""

    def __init__(self, stack, folder):
        self.folder = pathlib.Path(folder)
        names = ["sluice:8080", "sluice:9090", "simulator:4599", "redis:6379", "prometheus:9090"]
        self.ports = {name: tools.free_port() for name in names}
        services = compose()

        command = services["redis"]["command"] + ["--port", str(self.ports["redis:6379"]), "--bind",
                                                   "127.0.0.1", "--dir", str(self.folder)]
        self.start(stack, [tools.found("redis-server")] + command[1:], "redis:6379")

        command = [part.replace("0.0.0.0:4599", f"127.0.0.1:{self.ports['simulator:4599']}")
                   for part in services["simulator"]["command"]]
        self.start(stack, [SLUICE] + command, "simulator:4599")

        self.config = self.folder / "config.toml"
        self.config.write_text(self.moved((DEPLOY / "compose" / "sluice" / "config.toml").read_text()))
        env = {name: self.moved(value) for name, value in services["sluice"]["environment"].items()}
        env |= tools.bare_environment() | {
            "SLUICE_CONFIG": str(self.config),
            "SLUICE__SERVER__LISTEN": f"127.0.0.1:{self.ports['sluice:8080']}",
            "SLUICE__SERVER__ADMIN_LISTEN": f"127.0.0.1:{self.ports['sluice:9090']}",
            # So that the run is short, and has something of everything.
            "SLUICE__QUEUE__MAX_WAIT": "2s",
            "SLUICE__SERVER__CONFIG_POLL_INTERVAL": "1s",
            "SLUICE__LIMITS__KEY": "header:x-team",
            "SLUICE__LIMITS__REQUESTS_PER_SECOND": "20",
        }
        self.gateway = self.start(stack, [SLUICE, "serve"], "sluice:9090", env=env)
        tools.until(lambda: tools.request(self.ports["sluice:9090"], "GET", "/readyz")[0] == 200,
                    self.gateway)

        prometheus = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
        prometheus["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        prometheus["rule_files"] = [str(ALERTS)]
        job = prometheus["scrape_configs"][0]
        asked = job.pop("dns_sd_configs")[0]
        self.asked = f"{asked['names'][0]}:{asked['port']}"
        job["static_configs"] = [{"targets": [f"127.0.0.1:{self.ports[self.asked]}"]}]
        file = self.folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(prometheus))
        command = [f"--config.file={file}", f"--storage.tsdb.path={self.folder / 'tsdb'}",
                   f"--web.listen-address=127.0.0.1:{self.ports['prometheus:9090']}"]
        process = self.start(stack, [tools.found("PROMETHEUS")] + command, "prometheus:9090")
        # It listens before it can be asked.
        tools.until(lambda: tools.request(self.ports["prometheus:9090"], "GET", "/-/ready")[0] == 200,
                    process)

    def start(self, stack, command, name, **keywords):
        log = stack.enter_context(open(self.folder / f"{name}.log", "wb"))
        process = stack.enter_context(tools.running(*command, log=log, **keywords))
        tools.until(lambda: tools.listens(self.ports[name]), process)
        return process

    def moved(self, text):
        for name, port in self.ports.items():
            text = text.replace(name, f"127.0.0.1:{port}")
        return text

    def load(self):
        """Requests of several clients: enough for throttles, fallbacks and a line; and jobs."""
        def client(team, model, count):
            for _ in range(count):
                tools.converse(self.ports["sluice:8080"], model, {"x-team": team})
        # Before there is no quota left. A rate sees what comes after the first.
        self.analyse(1)
        self.until_seen("sum(sluice_job_duration_seconds_count) >= 1")
        clients = [threading.Thread(target=client, args=(f"team-{number}", model, 10))
                   for number in range(6) for model in (SONNET, HAIKU)]
        # More at once than a client may ask for.
        clients += [threading.Thread(target=client, args=("greedy", HAIKU, 1)) for _ in range(40)]
        for thread in clients:
            thread.start()
        self.analyse(2)
        self.config.write_text(self.config.read_text() + "\n[hedge]\nenabled = false\n")
        self.gateway.send_signal(signal.SIGHUP)
        for thread in clients:
            thread.join()
        self.until_seen("sum(increase(sluice_job_duration_seconds_count[1m])) > 0")

    def analyse(self, count):
        body = json.dumps({"session_id": "s", "section_name": "Timeline",
                           "content": "On 3 May the seller appealed."})
        header = {"content-type": "application/json"}
        for _ in range(count):
            tools.request(self.ports["sluice:8080"], "POST", "/analyze_section", body, header)

    def until_seen(self, expression):
        tools.until(lambda: self.ask("query", query=expression)[0]["result"], self.gateway, seconds=60)

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        status, body = tools.request(self.ports["prometheus:9090"], "GET", f"/api/v1/{path}?{query}")
        answer = json.loads(body)
        return (answer["data"] if status == 200 else None), answer.get("error")


def has_data(result):
    return any(sample["value"][1] != "NaN" for sample in result)


@tools.needs("PROMETHEUS", "redis-server")
class LiveRun(unittest.TestCase):
    """One run, and all questions to its Prometheus."""

    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        cls.fleet = Fleet(stack, folder)
        cls.fleet.load()

    def query(self, expression):
        data, error = self.fleet.ask("query", query=expression)
        self.assertIsNotNone(data, f"{expression}: {error}")
        return data["result"]

    @tools.needs("PROMTOOL")
    def test_the_metrics_are_as_prometheus_wants_them(self):
        status, text = tools.request(self.fleet.ports["sluice:9090"], "GET", "/metrics")
        self.assertEqual(status, 200)
        text = text if isinstance(text, str) else text.decode()
        checked = tools.call(tools.found("PROMTOOL"), "check", "metrics", input=text)
        self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, "", ""))

    def test_prometheus_own_parser_takes_it(self):
        port = self.fleet.ports["sluice:9090"]
        status, text = tools.request(port, "GET", "/metrics")
        self.assertEqual(status, 200)
        self.assertGreater(len(list(text_families(text.decode()))), 40)
        self.assertTrue(self.query("sluice_requests_total > 0"))

    @staticmethod
    def filled_in(expression):
        for name in ("namespace", "job", "instance"):
            expression = expression.replace(f"${name}", ".*")
        return expression.replace("$__rate_interval", "1m")

    def test_prometheus_asks_where_the_gateway_answers(self):
        self.assertEqual(self.fleet.asked, "sluice:9090")
        self.assertEqual([sample["value"][1] for sample in self.query("up")], ["1"])

    def test_every_panel_shows_the_run(self):
        for title, expression in queries():
            with self.subTest(panel=title, query=expression):
                result = self.query(self.filled_in(expression))
                if not metrics_of(expression) & NOT_IN_THE_RUN.keys():
                    self.assertTrue(has_data(result), "no data")

    def test_every_annotation_and_variable_can_be_asked(self):
        dashboard = json.loads(DASHBOARD.read_text())
        for annotation in dashboard["annotations"]["list"]:
            if "expr" in annotation:
                self.query(self.filled_in(annotation["expr"]))
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                of, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
                result = self.query(f"count by ({label}) ({self.filled_in(of)})")
                self.assertTrue(result, variable["name"])

    def test_every_rule_is_evaluated(self):
        data, _ = self.fleet.ask("rules")
        evaluated = [rule for group in data["groups"] for rule in group["rules"]]
        self.assertEqual(len(evaluated), len(rules()))
        for rule in evaluated:
            self.assertEqual(rule["health"], "ok", f"{rule['name']}: {rule.get('lastError')}")
        for rule in rules():
            if "record" in rule:
                self.assertTrue(has_data(self.query(rule["record"])), rule["record"])

    def test_every_alert_looks_at_something(self):
        for rule in alerts():
            for name in metrics_of(rule["expr"]) - NOT_IN_THE_RUN.keys():
                self.assertTrue(self.query(f"count({name})"), f"{rule['alert']}: no {name}")

    def test_what_was_thrown_at_it_is_seen(self):
        for expression in [
            'sluice_attempts_total{target="sonnet", outcome="throttled"} > 0',
            'sluice_fallbacks_total{from="sonnet", to="haiku"} > 0',
            'sluice_client_limited_total{limit="requests_per_second"} > 0',
            'sluice_config_reloads_total{result="ok"} > 0',
            'sluice_job_outcomes_total{queue="analysis", outcome=~"done|retried"} > 0',
            'sluice_dependency_up{dependency="job_queue"} == 1',
            'sluice_dependency_up{dependency="credentials"} == 1',
        ]:
            with self.subTest(query=expression):
                self.assertTrue(self.query(expression))


if __name__ == "__main__":
    unittest.main()
