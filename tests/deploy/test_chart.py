"""The Helm chart: what it renders, what it refuses, and that its pod starts, answers and stops."""

import base64
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

import yaml

import tools
from tools import CHART, ROOT, SIMULATOR_KEY, SLUICE

VALUE_SETS = sorted((CHART / "ci").glob("*-values.yaml"))
# The oldest version that the chart allows, the first with a preStop that sleeps, and a current one.
KUBERNETES = ["1.27.0", "1.30.0", "1.35.0"]
# Kinds of operators, which Kubernetes' own schemas don't have.
OPERATORS = {"ServiceMonitor", "PrometheusRule"}


def helm(*arguments):
    return tools.call(tools.found("HELM"), *arguments)


def render(*arguments, version=KUBERNETES[-1]):
    """The objects that the chart renders, as text and as a list."""
    done = helm("template", "my", CHART, "--namespace", "apps", "--kube-version", version, *arguments)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout, [document for document in yaml.safe_load_all(done.stdout) if document]


def refusal(*arguments):
    """What helm says of values that the chart refuses."""
    done = helm("template", "my", CHART, *arguments)
    if done.returncode == 0:
        raise AssertionError(f"rendered in spite of {arguments}")
    return done.stderr


def one(objects, kind, name=None):
    """The object of a kind, and of a name where there are several."""
    found = [item for item in objects if item["kind"] == kind
             and name in (None, item["metadata"]["name"])]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} objects of kind {kind}")
    return found[0]


def container(objects):
    return one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]


def plain_env(objects):
    return {entry["name"]: entry["value"] for entry in container(objects)["env"] if "value" in entry}


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text).group(1))


class Pod:
    """The gateway of a rendered Deployment, in a folder that stands for its file system."""

    def __init__(self, objects, folder):
        self.folder = pathlib.Path(folder)
        self.spec = one(objects, "Deployment")["spec"]["template"]["spec"]
        self.container = self.spec["containers"][0]
        self.env = {}
        for entry in self.container["env"]:
            self.env[entry["name"]] = entry.get("value", "filled-by-a-secret-0123456789")
        if "REDIS_URL" in self.env:
            self.env["REDIS_URL"] = "rediss://user:password@redis.example.com:6380/0"
        self.mounts = {}
        for mount in self.container["volumeMounts"]:
            place = self.folder / mount["mountPath"].strip("/")
            place.mkdir(parents=True)
            self.mounts[mount["mountPath"]] = str(place)
        sources = {volume["name"]: volume for volume in self.spec["volumes"]}
        for mount in self.container["volumeMounts"]:
            place, source = pathlib.Path(self.mounts[mount["mountPath"]]), sources[mount["name"]]
            if mount["name"] == "config":
                data = one(objects, "ConfigMap", source["configMap"]["name"])["data"]
                for name, text in data.items():
                    (place / name).write_text(self.moved(text), encoding="utf-8")
            elif "secret" in source:
                self.fill(place)
        self.env = {name: self.moved(value) for name, value in self.env.items()}
        self.arguments = [self.moved(argument) for argument in self.container["args"]]

    def moved(self, text):
        """Paths of the pod as paths of its folder."""
        for inside, outside in self.mounts.items():
            text = text.replace(inside + "/", outside + "/")
        return text

    @staticmethod
    def fill(place):
        """What Secrets of the value sets hold."""
        (place / "team-b").write_text("a-key-of-team-b-0123456789")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=sluice",
                        "-keyout", place / "tls.key", "-out", place / "tls.crt"],
                       check=True, stderr=subprocess.DEVNULL)
        (place / "ca.crt").write_bytes((place / "tls.crt").read_bytes())

    @property
    def config(self):
        return self.arguments[self.arguments.index("--config") + 1]


@tools.needs("HELM")
class Rendering(unittest.TestCase):
    def test_lint(self):
        for values in VALUE_SETS:
            with self.subTest(values=values.name):
                done = helm("lint", "--strict", CHART, "--values", values)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_objects_are_what_kubernetes_takes(self):
        import kubernetes_validate
        for values in VALUE_SETS:
            for version in KUBERNETES:
                with self.subTest(values=values.name, version=version):
                    _, objects = render("--values", values, version=version)
                    self.assertGreaterEqual(len(objects), 5)
                    for item in objects:
                        if item["kind"] not in OPERATORS:
                            kubernetes_validate.validate(item, version.rpartition(".")[0], strict=True)

    def test_names_and_namespaces_hold_together(self):
        for values in VALUE_SETS:
            with self.subTest(values=values.name):
                _, objects = render("--values", values)
                names = [(item["kind"], item["metadata"]["name"]) for item in objects]
                self.assertEqual(len(names), len(set(names)))
                pod = one(objects, "Deployment")["spec"]["template"]
                labels = pod["metadata"]["labels"].items()
                selectors = [one(objects, "Deployment")["spec"]["selector"]["matchLabels"]]
                selectors += [item["spec"]["selector"] for item in objects if item["kind"] == "Service"]
                selectors += [item["spec"]["podSelector"]["matchLabels"] for item in objects
                              if item["kind"] == "NetworkPolicy"]
                selectors += [item["spec"]["selector"]["matchLabels"] for item in objects
                              if item["kind"] == "PodDisruptionBudget"]
                selectors += [constraint["labelSelector"]["matchLabels"]
                              for constraint in pod["spec"]["topologySpreadConstraints"]]
                self.assertGreaterEqual(len(selectors), 5)
                for selector in selectors:
                    self.assertLessEqual(selector.items(), labels)

    @tools.needs("openssl")
    def test_the_gateway_takes_the_config(self):
        for values in VALUE_SETS:
            with self.subTest(values=values.name), tempfile.TemporaryDirectory() as folder:
                pod = Pod(render("--values", values)[1], folder)
                checked = tools.sluice_check(pod.config, pod.env)
                self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
                self.assertIn("config: ", checked.stdout)

    def test_the_config_says_what_the_values_say(self):
        import tomllib
        for values in VALUE_SETS:
            given = yaml.safe_load(values.read_text()) or {}
            if "config" not in given:
                continue
            with self.subTest(values=values.name):
                _, objects = render("--values", values)
                text = one(objects, "ConfigMap", "my-sluice")["data"]["config.toml"]
                self.assertEqual(tomllib.loads(text), given["config"])

    def test_the_gateway_answers_to_the_names_of_its_service(self):
        _, objects = render()
        names = json.loads(plain_env(objects)["SLUICE__SERVER__ALLOWED_HOSTS"])
        self.assertIn(names[0], [item["metadata"]["name"] for item in objects if item["kind"] == "Service"])
        rest = ["", ".apps", ".apps.svc", ".apps.svc.cluster.local"]
        self.assertEqual(names, [names[0] + suffix for suffix in rest])
        for given in (["--set", "config.server.allowed_hosts={lb.example.com}"],
                      ["--set", "configToml=server.allowed_hosts = [\"lb.example.com\"]"]):
            _, objects = render(*given)
            self.assertNotIn("SLUICE__SERVER__ALLOWED_HOSTS", plain_env(objects))

    def test_a_pod_has_time_to_drain(self):
        longer = ["--set", "drain.timeoutSeconds=900,drain.delaySeconds=30,drain.preStopSeconds=20"]
        for arguments in [["--values", values] for values in VALUE_SETS] + [longer]:
            for version in KUBERNETES:
                with self.subTest(arguments=arguments, version=version):
                    _, objects = render(*arguments, version=version)
                    spec = one(objects, "Deployment")["spec"]["template"]["spec"]
                    env = plain_env(objects)
                    hook = spec["containers"][0].get("lifecycle", {}).get("preStop", {})
                    takes = (hook.get("sleep", {}).get("seconds", 0)
                             + seconds(env["SLUICE__SERVER__DRAIN_DELAY"])
                             + seconds(env["SLUICE__SERVER__DRAIN_TIMEOUT"]))
                    # The gateway itself takes a second more: docs/operations.md.
                    self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], takes + 5)
                    self.assertEqual("sleep" in hook, version != "1.27.0"
                                     and "redis-values" not in str(arguments))

    def test_pods_are_restricted(self):
        for values in VALUE_SETS:
            with self.subTest(values=values.name):
                _, objects = render("--values", values)
                spec = one(objects, "Deployment")["spec"]["template"]["spec"]
                self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                self.assertEqual(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault")
                self.assertFalse(spec["automountServiceAccountToken"])
                self.assertFalse(spec["enableServiceLinks"])
                for field in ("hostNetwork", "hostPID", "hostIPC"):
                    self.assertNotIn(field, spec)
                self.assertEqual(len(spec["containers"]), 1)
                security = spec["containers"][0]["securityContext"]
                self.assertFalse(security["allowPrivilegeEscalation"])
                self.assertTrue(security["readOnlyRootFilesystem"])
                self.assertEqual(security["capabilities"], {"drop": ["ALL"]})
                allowed = {"configMap", "secret", "persistentVolumeClaim", "projected", "emptyDir"}
                for volume in spec["volumes"]:
                    self.assertTrue(allowed & volume.keys(), volume)

    def test_health_and_metrics_are_never_the_api(self):
        for values in VALUE_SETS:
            with self.subTest(values=values.name):
                _, objects = render("--values", values)
                services = [item for item in objects if item["kind"] == "Service"]
                api = [port["targetPort"] for item in services for port in item["spec"]["ports"]
                       if item["metadata"]["labels"]["app.kubernetes.io/component"] == "api"]
                self.assertEqual(api, ["api"])
                admin = next(item for item in services if item["metadata"]["name"].endswith("-admin"))
                self.assertEqual(admin["spec"]["type"], "ClusterIP")
                env = plain_env(objects)
                self.assertNotEqual(env["SLUICE__SERVER__LISTEN"], env["SLUICE__SERVER__ADMIN_LISTEN"])

    def test_a_changed_config_replaces_pods_only_if_told_to(self):
        def checksum(*arguments):
            _, objects = render(*arguments)
            annotations = one(objects, "Deployment")["spec"]["template"]["metadata"]["annotations"]
            return annotations.get("checksum/config")
        first = checksum("--set", "config.queue.max_waiting=5")
        self.assertEqual(first, checksum("--set", "config.queue.max_waiting=5", "--set", "replicas=9"))
        self.assertNotEqual(first, checksum("--set", "config.queue.max_waiting=6"))
        self.assertNotEqual(checksum("--set-string", "configFiles.a=1"),
                            checksum("--set-string", "configFiles.a=2"))
        self.assertIsNone(checksum("--set", "configReload=live"))

    def test_secrets_are_references(self):
        text, objects = render("--values", CHART / "ci" / "irsa-values.yaml")
        entries = {entry["name"]: entry for entry in container(objects)["env"]}
        self.assertEqual(entries["TEAM_A_KEY"]["valueFrom"]["secretKeyRef"],
                         {"name": "sluice-clients", "key": "team-a"})
        self.assertEqual(entries["SLUICE__SERVER__ADMIN_KEY"]["value"], "env:SLUICE_ADMIN_KEY")
        self.assertEqual(entries["SLUICE_ADMIN_KEY"]["valueFrom"]["secretKeyRef"]["name"], "sluice-admin")
        self.assertNotIn("kind: Secret\n", text)

    def test_an_admin_key_is_generated_unless_there_is_one(self):
        text, objects = render()
        secret = one(objects, "Secret")
        key = base64.b64decode(secret["data"]["admin-key"]).decode()
        self.assertGreaterEqual(len(key), 32)
        self.assertEqual(text.count(secret["data"]["admin-key"]), 1)
        self.assertNotIn(key, text)
        entries = {entry["name"]: entry for entry in container(objects)["env"]}
        self.assertEqual(entries["SLUICE_ADMIN_KEY"]["valueFrom"]["secretKeyRef"],
                         {"name": secret["metadata"]["name"], "key": "admin-key"})
        self.assertEqual(entries["SLUICE__SERVER__ADMIN_KEY"]["value"], "env:SLUICE_ADMIN_KEY")
        self.assertNotEqual(secret["data"], one(render()[1], "Secret")["data"])

        own = '[server]\nadmin_key = "file:/run/secrets/admin"\n'
        for arguments in (["--set", "adminKey.create=false"], ["--set-string", f"configToml={own}"]):
            text, objects = render(*arguments)
            self.assertNotIn("kind: Secret\n", text)
            self.assertNotIn("SLUICE__SERVER__ADMIN_KEY", plain_env(objects))

    def test_a_role_is_named_for_irsa(self):
        _, objects = render("--values", CHART / "ci" / "irsa-values.yaml")
        account = one(objects, "ServiceAccount")
        self.assertEqual(account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"],
                         "arn:aws:iam::123456789012:role/sluice")
        self.assertEqual(one(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"],
                         account["metadata"]["name"])

    def test_autoscaling_by_cpu_and_by_the_line(self):
        _, objects = render("--values", CHART / "ci" / "irsa-values.yaml")
        self.assertNotIn("replicas", one(objects, "Deployment")["spec"])
        metrics = one(objects, "HorizontalPodAutoscaler")["spec"]["metrics"]
        self.assertEqual(metrics[0]["resource"]["target"]["averageUtilization"], 65)
        self.assertEqual(metrics[1]["pods"]["metric"]["name"], "sluice_queue_waiting")

    def test_redis_is_reached_only_where_there_is_one(self):
        def ports(*arguments):
            _, objects = render(*arguments)
            rules = one(objects, "NetworkPolicy")["spec"]["egress"]
            return {port["port"] for rule in rules for port in rule["ports"]}
        self.assertEqual(ports(), {53, 443, 80})
        self.assertEqual(ports("--values", CHART / "ci" / "redis-values.yaml"), {53, 443, 80, 6380})
        self.assertIn(6379, ports("--set-string", 'configToml=[jobs]\nbackend = "redis"\n'))

    def test_alerts_follow_the_values(self):
        _, objects = render("--values", CHART / "ci" / "redis-values.yaml")
        groups = one(objects, "PrometheusRule")["spec"]["groups"]
        rules = {rule.get("alert") or rule["record"]: rule for group in groups for rule in group["rules"]}
        self.assertEqual(rules["sluice:error_budget:ratio"]["expr"], "vector(0.01)")
        self.assertEqual(rules["sluice:queue_limit:requests"]["expr"], "vector(400)")
        self.assertEqual(rules["sluice:jobs_limit:jobs"]["expr"], "vector(1000)")
        self.assertNotIn("SluiceMockAnswers", rules)
        self.assertIn("SluiceNoTraffic", rules)
        alone = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
        for group in alone["groups"]:
            for rule in group["rules"]:
                name = rule.get("alert") or rule["record"]
                if name != "SluiceMockAnswers" and not rule["expr"].startswith("vector("):
                    self.assertEqual(rules[name], rule)

    def test_alerts_link_to_their_pages(self):
        base = "https://git.example.com/sluice/blob/main"
        for given in (base, base + "/"):
            _, objects = render("--values", CHART / "ci" / "redis-values.yaml",
                                "--set", f"prometheusRule.runbookBaseUrl={given}")
            groups = one(objects, "PrometheusRule")["spec"]["groups"]
            rules = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
            annotations = rules["SluiceDown"]["annotations"]
            self.assertEqual(annotations["runbook_url"], f"{base}/docs/alerts.md#sluicedown")
            self.assertNotIn("runbook", annotations)

    @tools.needs("PROMTOOL")
    def test_prometheus_takes_the_rendered_alerts(self):
        _, objects = render("--values", CHART / "ci" / "redis-values.yaml")
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as rules:
            yaml.safe_dump(one(objects, "PrometheusRule")["spec"], rules)
            rules.flush()
            checked = tools.call(tools.found("PROMTOOL"), "check", "rules", rules.name)
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_the_dashboard_is_the_file(self):
        _, objects = render("--values", CHART / "ci" / "redis-values.yaml")
        dashboard = one(objects, "ConfigMap", "my-sluice-dashboard")
        self.assertEqual(dashboard["metadata"]["labels"]["grafana_dashboard"], "1")
        self.assertEqual(dashboard["data"]["sluice.json"],
                         (CHART / "files" / "dashboard.json").read_text())

    def test_the_notes_say_what_is_open(self):
        def notes(*arguments):
            done = helm("install", "my", CHART, "--namespace", "apps", "--dry-run=client", *arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout[done.stdout.index("NOTES:"):]
        open_to_all = notes("--set", "service.type=LoadBalancer")
        self.assertIn("WARNING: the Service is of type LoadBalancer and requires no key", open_to_all)
        self.assertIn("no routes", open_to_all)
        self.assertIn("create-pod-identity-association", open_to_all)
        self.assertIn("get secret my-sluice-admin -o go-template='{{ index .data \"admin-key\" | base64decode }}'",
                      open_to_all)
        self.assertIn("http://127.0.0.1:9090/status", open_to_all)
        self.assertIn("the page shows nothing", notes("--set", "adminKey.create=false"))
        guarded = notes("--values", CHART / "ci" / "irsa-values.yaml")
        self.assertIn("get secret sluice-admin ", guarded)
        self.assertNotIn("WARNING", guarded)
        self.assertNotIn("NOTE", guarded.removeprefix("NOTES:"))
        self.assertIn("http://my-sluice.apps.svc:8080", guarded)


@tools.needs("HELM")
class Refusals(unittest.TestCase):
    CASES = [
        (["--set", "replica=3"], "additional properties 'replica' not allowed"),
        (["--set", "config.server.max_conections=3"], "additional properties 'max_conections' not allowed"),
        (["--set", "config.queue.max_waiting=many"], "/config/queue/max_waiting"),
        (["--set", "config.clients[0].name=a", "--set", "config.clients[0].bearer_token=hush-0123456789ab"],
         "/config/clients/0/bearer_token"),
        (["--set", "config.server.listen=0.0.0.0:80"], "config.server.listen is the chart's: set bindAddress"),
        (["--set", "config.server.drain_timeout=9s"],
         "config.server.drain_timeout is the chart's: set drain.timeoutSeconds"),
        (["--set", "config.server.drain_delay=9s"],
         "config.server.drain_delay is the chart's: set drain.delaySeconds"),
        (["--set", "config.server.tls.cert=a,config.server.tls.key=b"], "config.server.tls is the chart's: set tls.secret"),
        (["--set", "config.server.admin_key=env:A"], "config.server.admin_key is the chart's"),
        (["--set", "config.legacy.listen=0.0.0.0:81"], "legacy.listen"),
        (["--set", "config.queue.max_waiting=1", "--set", "configToml=a"], "set config or configToml, not both"),
        (["--set-string", "configToml=a = = b"], "configToml: toml: line 1"),
        (["--set-string", "configFiles.config\\.toml=a"], "config.toml comes from config or configToml"),
        (["--set", "config.jobs.backend=sqlite"], "jobs.path is a file for one replica"),
        (["--set", "config.jobs.backend=sqlite,replicas=1"], "set persistence.enabled"),
        (["--set", "config.jobs.backend=sqlite,replicas=1,persistence.enabled=true"],
         "jobs.path must be in persistence.mountPath"),
        (["--set", "persistence.enabled=true"], "persistence is for one replica"),
        (["--set", "autoscaling.enabled=true,autoscaling.targetCPU=0"], "needs targetCPU or targetQueueWaiting"),
        (["--set", "autoscaling.enabled=true,autoscaling.minReplicas=20"], "minReplicas is above maxReplicas"),
        (["--set", "tls.clientCaKey=ca.crt"], "tls.clientCaKey needs tls.secret"),
        (["--set", "podDisruptionBudget.maxUnavailable="], "needs maxUnavailable or minAvailable"),
        (["--set", "prometheusRule.enabled=true,prometheusRule.disabled={SluiceNone}"],
         "there is no alert 'SluiceNone'"),
        (["--set", "drain.marginSeconds=0"], "/drain/marginSeconds"),
        (["--kube-version", "1.26.0"], "incompatible with Kubernetes v1.26.0"),
    ]

    def test_what_can_not_work_is_refused(self):
        for arguments, message in self.CASES:
            with self.subTest(arguments=arguments):
                self.assertIn(message, refusal(*arguments))


@tools.needs("HELM")
class Running(unittest.TestCase):
    def test_the_pod_starts_answers_and_stops(self):
        values = {"drain": {"delaySeconds": 1, "timeoutSeconds": 5},
                  "config": {"targets": {"haiku": {"model": "us.anthropic.claude-haiku-5-5"}},
                             "routes": [{"models": ["*haiku*"], "targets": ["haiku"]}]}}
        with tempfile.TemporaryDirectory() as folder, tools.simulator() as bedrock:
            file = pathlib.Path(folder) / "values.yaml"
            file.write_text(yaml.safe_dump(values))
            pod = Pod(render("--values", file)[1], pathlib.Path(folder) / "root")
            ports = {port["name"]: (port["containerPort"], tools.free_port())
                     for port in pod.container["ports"]}
            env = tools.bare_environment() | pod.env | SIMULATOR_KEY
            env["SLUICE__UPSTREAM__ENDPOINT_URL"] = f"http://127.0.0.1:{bedrock}"
            for name in ("SLUICE__SERVER__LISTEN", "SLUICE__SERVER__ADMIN_LISTEN"):
                for given, free in ports.values():
                    env[name] = env[name].replace(f"0.0.0.0:{given}", f"127.0.0.1:{free}")

            def probe(kind):
                get = pod.container[kind]["httpGet"]
                return tools.request(ports[get["port"]][1], "GET", get["path"])[0]

            with tools.running(SLUICE, *pod.arguments, env=env) as process:
                tools.until(lambda: probe("startupProbe") == 200, process)
                tools.until(lambda: probe("readinessProbe") == 200, process)
                self.assertEqual(probe("livenessProbe"), 200)
                admin = ports["admin"][1]
                self.assertEqual(tools.request(admin, "GET", "/admin/status")[0], 401)
                header = {"authorization": f"Bearer {env['SLUICE_ADMIN_KEY']}"}
                self.assertEqual(tools.request(admin, "GET", "/admin/status", headers=header)[0], 200)
                api = ports["api"][1]
                model = "us.anthropic.claude-haiku-5-5"
                self.assertEqual(tools.converse(api, model), 200)

                process.send_signal(signal.SIGTERM)
                began = time.monotonic()
                tools.until(lambda: probe("readinessProbe") == 503, process)
                self.assertEqual(probe("livenessProbe"), 200)
                # Endpoints are still being taken away.
                self.assertEqual(tools.converse(api, model), 200)
                self.assertEqual(process.wait(timeout=20), 0)
                self.assertLess(time.monotonic() - began, pod.spec["terminationGracePeriodSeconds"])


class Documents(unittest.TestCase):
    """values.yaml, values.schema.json and README.md name the same values."""

    @staticmethod
    def leaves(schema, path=""):
        for name, inside in schema["properties"].items():
            dotted = f"{path}{name}"
            is_section = inside.get("additionalProperties") is False and dotted != "config"
            if is_section and "properties" in inside:
                yield from Documents.leaves(inside, f"{dotted}.")
            elif dotted != "global":
                yield dotted

    def test_every_value_is_documented_with_its_default(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        rows = re.findall(r"^\| `([A-Za-z.]+)` \| `(.*?)` \|", (CHART / "README.md").read_text(), re.M)
        documented = {name: json.loads(default) for name, default in rows}
        self.assertEqual(len(rows), len(documented), "a value stands twice in README.md")
        self.assertEqual(set(self.leaves(schema)), set(documented))
        for name, default in documented.items():
            given = values
            for step in name.split("."):
                self.assertIn(step, given, f"values.yaml lacks {name}")
                given = given[step]
            self.assertEqual(given, default, name)

    def test_the_schema_of_config_is_the_gateways(self):
        done = tools.call(pathlib.Path(__file__).with_name("values_schema"), SLUICE)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_version_is_the_crates(self):
        crate = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual((chart["version"], chart["appVersion"]), (crate, crate))


if __name__ == "__main__":
    unittest.main()
