"""The files of Docker, compose, ECS, App Runner, systemd and the Kubernetes sidecar: that their own
checkers take them, that the gateway takes the config in them, and that each leaves time to drain."""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import yaml

import tools
from tools import DEPLOY, ROOT, SIMULATOR_KEY, SLUICE

DOCKERFILE = ROOT / "Dockerfile"
# Beside this Python: what tests/deploy/requirements.txt brings.
BIN = pathlib.Path(sys.executable).parent
# "90s", "1h 30m": what the files here use of the gateway's durations.
UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text):
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)\s*([smh])", text))


def drain_of(env):
    """Seconds that a gateway with these variables may take to stop: docs/operations.md."""
    delay, timeout = env.get("SLUICE__SERVER__DRAIN_DELAY", "0s"), env.get("SLUICE__SERVER__DRAIN_TIMEOUT", "60s")
    return seconds(delay) + 1 + seconds(timeout)


class Build(unittest.TestCase):
    """What the Dockerfile's first stage builds from."""

    def test_it_has_every_crate_of_the_workspace(self):
        members = re.search(r"(?m)^members = \[(.*)\]$", (ROOT / "Cargo.toml").read_text()).group(1)
        text = DOCKERFILE.read_text()
        for crate in re.findall(r'"([^"]+)"', members):
            self.assertIn(f"COPY {crate}/Cargo.toml {crate}/\n", text)
            self.assertIn(f" {crate}/src/lib.rs", text)


class Image:
    """What the Dockerfile's last stage says."""

    def __init__(self):
        text = DOCKERFILE.read_text().replace("\\\n", " ")
        self.stages = re.split(r"(?m)^FROM ", text)[1:]
        last = self.stages[-1]
        self.env = dict(pair.split("=", 1) for line in re.findall(r"(?m)^ENV (.*)$", last)
                        for pair in shlex.split(line))
        self.entrypoint = json.loads(re.search(r"(?m)^ENTRYPOINT (.*)$", last).group(1))
        self.command = json.loads(re.search(r"(?m)^CMD (.*)$", last).group(1))
        self.health = json.loads(re.search(r"HEALTHCHECK .* CMD (.*)$", last, re.M).group(1))
        self.volume = re.search(r"(?m)^VOLUME (\S+)$", last).group(1)

    @property
    def binary(self):
        return self.entrypoint[0]


class Docker(unittest.TestCase):
    def test_the_linter_finds_nothing(self):
        done = tools.call(BIN / "hadolint", DOCKERFILE)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_the_build_has_all_that_it_needs(self):
        allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()
                   if line.startswith("!")}
        self.assertIn("*", (ROOT / ".dockerignore").read_text().splitlines())
        for name in allowed:
            self.assertTrue((ROOT / name).exists(), name)
        copied = re.findall(r"(?m)^COPY ((?!--from)\S+ .*|\. \.)$", DOCKERFILE.read_text())
        for name in " ".join(copied).split():
            if name not in (".", "./"):
                path = pathlib.PurePosixPath(name)
                self.assertTrue(allowed & {path.parts[0], name} or any(it.startswith(name) for it in allowed), name)
        # What the source takes in when it is compiled.
        for file in [*(ROOT / "src").rglob("*.rs"), *(ROOT / "crates").rglob("*.rs")]:
            # Tests are not built into the image.
            text = file.read_text().split("#[cfg(test)]\nmod tests {")[0]
            if "tests" in file.relative_to(ROOT).with_suffix("").parts:
                continue
            for path in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text):
                inside = (file.parent / path).resolve().relative_to(ROOT)
                self.assertTrue(allowed & {inside.parts[0], str(inside)}, f"{file.name} includes {inside}")
        for path in re.findall(r'(?m)^path = "(.*)"', (ROOT / "Cargo.toml").read_text()):
            self.assertIn(pathlib.Path(path).parts[0], allowed)

    def test_the_image_has_no_shell_and_no_root(self):
        base = Image().stages[-1].split()[0]
        self.assertRegex(base, r"^gcr\.io/distroless/[\w-]+:nonroot@sha256:")

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare")
                         and subprocess.run(["unshare", "-m", "true"]).returncode == 0,
                         "NOT checked: this machine gives no mount namespace")
    def test_it_runs_unprivileged_on_a_read_only_root_of_its_own(self):
        image = Image()
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as volume:
            root = pathlib.Path(folder)
            root.chmod(0o755)
            os.chown(volume, 65532, 65532)
            (root / image.volume.lstrip("/")).mkdir(parents=True)
            binary = root / image.binary.lstrip("/")
            binary.parent.mkdir(parents=True)
            shutil.copy(SLUICE, binary)
            for library in re.findall(r"(/\S+)", tools.call("ldd", SLUICE).stdout):
                place = root / library.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, place)
            config = root / image.env["SLUICE_CONFIG"].lstrip("/")
            config.parent.mkdir(parents=True)
            shutil.copy(ROOT / "config.toml", config)

            env = tools.bare_environment() | image.env | SIMULATOR_KEY
            port = tools.free_port()
            env["SLUICE__SERVER__LISTEN"] = "127.0.0.1:0"
            env["SLUICE__SERVER__ADMIN_LISTEN"] = f"0.0.0.0:{port}"
            env["PATH"] += ":/usr/sbin:/sbin"

            def inside(*command):
                return ["unshare", "-m", "sh", "-c",
                        'root=$0 volume=$1 && shift && mount --bind "$root" "$root" &&'
                        ' mount -o remount,ro,bind "$root" && mount --bind "$volume" "$root$1" && shift &&'
                        ' exec chroot --userspec=65532:65532 "$root" "$@"',
                        str(root), volume, image.volume, *command]

            health = inside(*image.health)
            self.assertNotEqual(tools.call(*health, env=env).returncode, 0, "nothing runs yet")
            with tools.running(*inside(*image.entrypoint, *image.command), env=env) as process:
                tools.until(lambda: tools.listens(port), process)
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                self.assertRegex(status, r"Uid:\s+65532\s+65532")
                self.assertRegex(status, r"CapEff:\s+0+\n")
                asked = tools.call(*health, env=env)
                self.assertEqual(asked.returncode, 0, asked.stderr)
                printed = tools.call(*inside(image.binary, "keys", "admin"), env=env)
                self.assertEqual(printed.returncode, 0, printed.stderr)
                self.check_admin(port, printed.stdout.strip())
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(timeout=10), 0)


    def check_admin(self, port, key):
        """The page, its data and its buttons work with the key and not without; metrics are open."""
        header = {"authorization": f"Bearer {key}"}
        targets = json.loads(tools.request(port, "GET", "/admin/targets", headers=header)[1])["targets"]
        drain = f"/admin/targets/{targets[0]['name']}/drain"
        for method, path, without in (("GET", "/status", 200), ("GET", "/metrics", 200),
                                      ("GET", "/admin/status", 401), ("POST", drain, 401)):
            self.assertEqual(tools.request(port, method, path)[0], without, path)
            self.assertEqual(tools.request(port, method, path, headers=header)[0], 200, path)


class Compose(unittest.TestCase):
    def setUp(self):
        self.file = DEPLOY / "compose" / "compose.yaml"
        self.base = yaml.safe_load(self.file.read_text())
        self.over = yaml.safe_load((self.file.parent / "demo.yaml").read_text())

    def services(self):
        return (self.base["services"] | {"simulator": self.over["services"]["simulator"]}).items()

    def test_the_specification_takes_both(self):
        import compose_spec
        compose_spec.PyCompose.from_yaml(self.file.read_text()).validate()
        together = self.base | {"services": {
            name: self.base["services"].get(name, {}) | self.over["services"].get(name, {})
            for name in self.base["services"].keys() | self.over["services"].keys()}}
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(together)).validate()

    def test_what_is_mounted_is_there(self):
        mounted = [volume.split(":")[0] for _, service in self.services()
                   for volume in service.get("volumes", [])]
        files = [path for path in mounted if path.startswith(".")]
        self.assertGreaterEqual(len(files), 5)
        for path in files:
            self.assertTrue((self.file.parent / path).exists(), path)
        for name in set(mounted) - set(files):
            self.assertIn(name, self.base["volumes"])

    def test_only_this_machine_gets_in_and_nobody_has_more_than_he_needs(self):
        for name, service in self.services():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), port)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertIn("no-new-privileges:true", service["security_opt"])
            self.assertNotRegex(service["image"], r":latest$|^(?!sluice)[^:]+$")
        self.assertTrue(self.base["services"]["sluice"]["read_only"])
        self.assertEqual(self.base["services"]["redis"]["networks"], ["inside"])
        self.assertTrue(self.base["networks"]["inside"]["internal"])

    def test_the_gateway_takes_the_config_and_has_time_to_drain(self):
        import tomllib
        config = self.file.parent / "sluice" / "config.toml"
        for env in ({}, self.over["services"]["sluice"]["environment"]):
            checked = tools.sluice_check(config, Image().env | env)
            self.assertEqual(checked.returncode, 0, checked.stderr)
            self.assertNotIn("warning", checked.stdout)
        server = tomllib.loads(config.read_text())["server"]
        # Other containers call it by the name of its service, and there are no clients.
        self.assertEqual(server["allowed_hosts"], ["sluice"])
        takes = seconds(server["drain_delay"]) + 1 + seconds(server["drain_timeout"])
        self.assertLess(takes, seconds(self.base["services"]["sluice"]["stop_grace_period"]))

    def test_the_admin_key_survives_a_new_container(self):
        mounts = dict(volume.split(":")[:2][::-1] for volume in self.base["services"]["sluice"]["volumes"])
        file = pathlib.PurePosixPath(Image().env["SLUICE__SERVER__ADMIN_KEY_FILE"])
        self.assertEqual(str(file.parent), Image().volume)
        self.assertIn(mounts[Image().volume], self.base["volumes"])

    def test_grafana_finds_what_it_is_given(self):
        provisioning = self.file.parent / "grafana" / "provisioning"
        source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())
        self.assertEqual(source["datasources"][0]["url"], "http://prometheus:9090")
        provider = yaml.safe_load((provisioning / "dashboards" / "sluice.yaml").read_text())
        folder = provider["providers"][0]["options"]["path"]
        targets = [volume.split(":")[1] for volume in self.base["services"]["grafana"]["volumes"]]
        self.assertTrue(any(target.startswith(folder + "/") for target in targets))

    @tools.needs("PROMTOOL")
    def test_prometheus_takes_its_config(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, path in (("prometheus.yml", self.file.parent / "prometheus.yml"),
                               ("alerts.yaml", ROOT / "helm" / "files" / "alerts.yaml")):
                shutil.copy(path, pathlib.Path(folder) / name)
            checked = tools.call(tools.found("PROMTOOL"), "check", "config",
                                 pathlib.Path(folder) / "prometheus.yml")
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)


class Ecs(unittest.TestCase):
    def setUp(self):
        self.task = json.loads((DEPLOY / "ecs" / "sidecar-task.json").read_text())
        containers = {container["name"]: container for container in self.task["containerDefinitions"]}
        self.app, self.sluice = containers["app"], containers["sluice"]
        self.env = {entry["name"]: entry["value"] for entry in self.sluice["environment"]}

    def test_the_api_takes_it(self):
        from botocore.session import Session
        from botocore.validate import validate_parameters
        shape = Session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
        validate_parameters(self.task, shape)

    def test_fargate_takes_its_sizes(self):
        # 1 vCPU goes with 2 to 8 GB.
        self.assertEqual(self.task["cpu"], "1024")
        self.assertIn(int(self.task["memory"]), range(2048, 8193, 1024))
        containers = self.task["containerDefinitions"]
        self.assertLessEqual(sum(item["cpu"] for item in containers), int(self.task["cpu"]))
        self.assertLessEqual(sum(item["memory"] for item in containers), int(self.task["memory"]))
        for item in containers:
            self.assertLessEqual(item["stopTimeout"], 120, "Fargate waits no longer")

    def test_the_gateway_takes_the_config_and_has_time_to_drain(self):
        checked = tools.sluice_check(self.env["SLUICE_CONFIG"], Image().env | self.env)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertNotIn("warning", checked.stdout)
        self.assertIn("ok, 2 targets, 1 route, ", checked.stdout)
        self.assertLess(drain_of(self.env), self.sluice["stopTimeout"])

    def test_the_app_waits_for_it_and_nobody_else_reaches_it(self):
        self.assertEqual(self.app["dependsOn"], [{"containerName": "sluice", "condition": "HEALTHY"}])
        address = {entry["name"]: entry["value"] for entry in self.app["environment"]}
        self.assertEqual(address["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"],
                         f"http://{self.env['SLUICE__SERVER__LISTEN']}")
        for name in ("LISTEN", "ADMIN_LISTEN"):
            self.assertTrue(self.env[f"SLUICE__SERVER__{name}"].startswith("127.0.0.1:"))
        self.assertEqual(self.sluice["healthCheck"]["command"][1], Image().binary)
        self.assertTrue(self.sluice["readonlyRootFilesystem"])
        self.assertEqual(self.sluice["linuxParameters"]["capabilities"]["drop"], ["ALL"])


class AppRunner(unittest.TestCase):
    def setUp(self):
        from cfnlint import decode
        self.file = DEPLOY / "app-runner" / "apprunner.yaml"
        template, problems = decode.decode(str(self.file))
        self.assertFalse(problems)
        self.resources = template["Resources"]
        service = self.resources["Service"]["Properties"]
        self.health = service["HealthCheckConfiguration"]
        image = service["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]
        self.port = image["Port"]
        self.env = {entry["Name"]: entry["Value"] for entry in image["RuntimeEnvironmentVariables"]}
        self.env = {name: value if isinstance(value, str) else "us-east-1"
                    for name, value in self.env.items()}
        self.secrets = [entry["Name"] for entry in image["RuntimeEnvironmentSecrets"]]

    def test_cloudformation_takes_it(self):
        done = tools.call(BIN / "cfn-lint", self.file)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_gateway_takes_the_config(self):
        secrets = {name: "filled-by-a-secret-0123456789" for name in self.secrets}
        checked = tools.sluice_check(self.env["SLUICE_CONFIG"], Image().env | self.env | secrets)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertNotIn("warning", checked.stdout)

    def test_one_port_and_no_request_longer_than_app_runner_waits(self):
        self.assertEqual(self.env["SLUICE__SERVER__LISTEN"], f"0.0.0.0:{self.port}")
        self.assertEqual(self.env["SLUICE__SERVER__ADMIN_LISTEN"], self.env["SLUICE__SERVER__LISTEN"])
        self.assertEqual(self.health["Path"], "/readyz")
        self.assertLess(seconds(self.env["SLUICE__SERVER__REQUEST_TIMEOUT"]), 120)

    def test_who_reaches_it_needs_a_key(self):
        reference = self.env["SLUICE__CLIENTS__0__BEARER_TOKEN"]
        self.assertIn(reference.removeprefix("env:"), self.secrets)

    def test_its_role_may_do_what_the_policy_file_says(self):
        policy = json.loads((DEPLOY / "iam" / "bedrock.json").read_text())
        inline = self.resources["InstanceRole"]["Properties"]["Policies"][0]["PolicyDocument"]
        self.assertEqual(policy["Statement"][0]["Action"], inline["Statement"][0]["Action"])


class Iam(unittest.TestCase):
    """tests/docs compares the actions with the operations that the gateway serves."""

    def test_each_statement_has_a_name_of_its_own_and_names_no_account(self):
        policy = json.loads((DEPLOY / "iam" / "bedrock.json").read_text())
        names = [statement["Sid"] for statement in policy["Statement"]]
        self.assertEqual(len(names), len(set(names)))
        for statement in policy["Statement"]:
            self.assertRegex(statement["Sid"], r"^[A-Za-z0-9]+$")
            self.assertEqual(statement["Effect"], "Allow")
            self.assertNotRegex(json.dumps(statement), r"\d{12}|bedrock:\*\"")


class Systemd(unittest.TestCase):
    def setUp(self):
        self.file = DEPLOY / "systemd" / "sluice.service"
        self.text = self.file.read_text()

    def value(self, key):
        return re.search(rf"(?m)^{key}=(.*)$", self.text).group(1)

    @tools.needs("systemd-analyze")
    def test_systemd_takes_it_and_finds_it_tight(self):
        with tempfile.TemporaryDirectory() as folder:
            unit = pathlib.Path(folder) / self.file.name
            unit.write_text(self.text.replace("/usr/local/bin/sluice", SLUICE))
            checked = tools.call("systemd-analyze", "verify", "--man=no", unit)
            self.assertEqual(checked.returncode, 0, checked.stderr)
            self.assertNotIn(self.file.name, checked.stderr)
            # From 0 to 10, in tenths: 2.0 is what systemd calls "OK".
            tight = tools.call("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
            self.assertEqual(tight.returncode, 0, tight.stdout[-200:] + tight.stderr)

    def test_it_has_time_to_drain(self):
        env = dict(pair.split("=", 1) for pair in self.value("Environment").split())
        self.assertLess(drain_of(env), seconds(self.value("TimeoutStopSec")))


class Sidecar(unittest.TestCase):
    def setUp(self):
        self.file = DEPLOY / "kubernetes" / "sidecar.yaml"
        self.objects = list(yaml.safe_load_all(self.file.read_text()))
        self.pod = self.objects[1]["spec"]["template"]["spec"]
        self.sluice = self.pod["initContainers"][0]

    def test_kubernetes_takes_it(self):
        import kubernetes_validate
        for item in self.objects:
            for version in ("1.29", "1.35"):
                kubernetes_validate.validate(item, version, strict=True)

    def test_the_gateway_takes_the_config_and_has_time_to_drain(self):
        import tomllib
        text = self.objects[0]["data"]["config.toml"]
        env = {entry["name"]: entry["value"] for entry in self.sluice["env"]}
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            checked = tools.sluice_check(file.name, Image().env | env)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertNotIn("warning", checked.stdout)
        timeout = seconds(tomllib.loads(text)["server"]["drain_timeout"])
        # Half of the pod's time is the app's.
        self.assertLess(2 * timeout, self.pod["terminationGracePeriodSeconds"])
        self.assertEqual(self.sluice["restartPolicy"], "Always")
        app = {entry["name"]: entry["value"] for entry in self.pod["containers"][0]["env"]}
        self.assertEqual(app["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"], f"http://{env['SLUICE__SERVER__LISTEN']}")

    def test_each_pod_has_a_place_for_its_admin_key(self):
        env = {entry["name"]: entry["value"] for entry in self.sluice["env"]}
        folder = str(pathlib.PurePosixPath(env["SLUICE__SERVER__ADMIN_KEY_FILE"]).parent)
        mounts = {mount["mountPath"]: mount["name"] for mount in self.sluice["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        self.assertIn("emptyDir", volumes[mounts[folder]])


if __name__ == "__main__":
    unittest.main()
