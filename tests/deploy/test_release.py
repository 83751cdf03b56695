"""Releases: the workflow that makes one, the lists of what is in it, and what makes two builds equal."""

import json
import os
import pathlib
import platform
import re
import stat
import tempfile
import unittest

import yaml

import tools
from test_files import BIN, DOCKERFILE, Image
from tools import ROOT

RELEASE = ROOT / "deploy" / "release"
TARGET = "x86_64-unknown-linux-gnu"
# Commit and version of the actions that were compared with the tags of their repositories.
PINNED = r"^[\w/-]+@[0-9a-f]{40} # v[\d.]+$"


def tree(*arguments):
    """Name and version of the crates that `cargo tree` names."""
    done = tools.call("cargo", "tree", "--locked", "--package", "sluice", "--target", TARGET, "--prefix", "none",
                      "--format", "{p}", *arguments, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return {tuple(line.replace(" v", " ").split()[:2]) for line in done.stdout.splitlines() if line}


@unittest.skipUnless(tools.call(RELEASE / "sbom", "--can").returncode == 0,
                     "NOT checked: cargo-cyclonedx is not on this machine")
class Sbom(unittest.TestCase):
    """deploy/release/sbom."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.file = cls.made("first")
        cls.bom = json.loads(cls.file.read_text())

    @classmethod
    def made(cls, name, *arguments, **env):
        out = pathlib.Path(cls.folder.name) / name
        done = tools.call(RELEASE / "sbom", "--target", TARGET, *arguments, out, env=os.environ | env, cwd="/")
        assert done.returncode == 0, done.stderr
        return out

    def crates(self):
        return [(it["name"], it["version"]) for it in [self.bom["metadata"]["component"], *self.bom["components"]]
                if it["purl"].startswith("pkg:cargo/") or it["name"].startswith("sluice")]

    def validate(self, file):
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
        self.assertIsNone(JsonStrictValidator(SchemaVersion.V1_5).validate_str(file.read_text()))

    def test_the_schema_takes_it(self):
        self.validate(self.file)
        self.assertEqual(self.bom["bomFormat"], "CycloneDX")

    def test_it_has_each_crate_that_is_linked_once_and_no_other(self):
        crates = self.crates()
        self.assertEqual(len(crates), len(set(crates)))
        self.assertEqual(set(crates), tree("--edges", "normal,no-proc-macro"))
        self.assertGreater(len(crates), 150)

    def test_it_has_no_macros_and_nothing_of_builds_and_tests(self):
        names = {name for name, _ in self.crates()}
        for absent in ("serde_derive", "cc", "proptest", "vt100"):
            self.assertNotIn(absent, names)

    def test_it_has_the_libraries_in_c_and_rusts_own(self):
        versions = {it["name"]: it["version"] for it in self.bom["components"]}
        for name in ("aws-lc", "sqlite", "rust-std"):
            self.assertRegex(versions[name], r"^\d+\.\d+\.\d+$")

    def test_each_part_has_a_licence_and_a_package_url(self):
        for it in [self.bom["metadata"]["component"], *self.bom["components"]]:
            self.assertTrue(it["licenses"], it["name"])
            self.assertRegex(it["purl"], r"^pkg:(cargo|generic|github)/")
        hashed = [it for it in self.bom["components"] if it.get("hashes")]
        self.assertGreater(len(hashed), 150, "crates of the registry have the sums of the lock file")

    def test_the_crates_of_the_workspace_are_not_taken_for_those_of_the_registry(self):
        own = {it["purl"] for it in [self.bom["metadata"]["component"], *self.bom["components"]]
               if it["name"].startswith("sluice")}
        self.assertGreater(len(own), 3)
        for purl in own:
            self.assertRegex(purl, r"^pkg:generic/sluice")

    def test_every_part_is_in_the_tree_below_the_gateway(self):
        tree = {it["ref"]: it.get("dependsOn", []) for it in self.bom["dependencies"]}
        reached, left = set(), [self.bom["metadata"]["component"]["bom-ref"]]
        while left:
            ref = left.pop()
            if ref not in reached:
                reached.add(ref)
                left += tree[ref]
        self.assertEqual(reached, {it["bom-ref"] for it in self.bom["components"]}
                         | {self.bom["metadata"]["component"]["bom-ref"]})

    def test_two_of_one_commit_are_equal_wherever_they_are_made(self):
        with tempfile.TemporaryDirectory() as elsewhere:
            checkers = os.environ.get("CI_TOOLS") or str(pathlib.Path(tempfile.gettempdir()) / "sluice-ci-tools")
            second = self.made("second", TMPDIR=elsewhere, TZ="Asia/Tokyo", LC_ALL="C", CI_TOOLS=checkers)
        self.assertEqual(self.file.read_bytes(), second.read_bytes())
        for path in (str(ROOT), str(pathlib.Path.home()), "file://"):
            self.assertNotIn(path, self.file.read_text())

    def test_its_time_and_its_number_follow_from_its_content(self):
        later = json.loads(self.made("later", SOURCE_DATE_EPOCH="86400").read_text())
        self.assertEqual(later["metadata"]["timestamp"], "1970-01-02T00:00:00Z")
        self.assertNotEqual(later["serialNumber"], self.bom["serialNumber"])

    def test_of_an_image_it_has_the_binary_and_the_packages_of_the_base(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            status, doc = root / "var/lib/dpkg/status.d", root / "usr/share/doc/libc6"
            status.mkdir(parents=True)
            doc.mkdir(parents=True)
            (status / "libc6").write_text("Package: libc6\nVersion: 2.36-9+deb12u10\nArchitecture: amd64\n"
                                          "Description: libraries\n more words\n")
            (status / "libc6.md5sums").write_text("0123 usr/lib/libc.so\n")
            (status / "tzdata").write_text("Package: tzdata\nVersion: 2025b-0\nArchitecture: all\n")
            (doc / "copyright").write_text("License: LGPL-2.1+\n\nLicense: LGPL-2.1+\n")
            digest = f"sha256:{'ab' * 32}"
            file = self.made("image", "--image", "ghcr.io/someone/sluice", "--digest", digest, "--root", root)
        self.validate(file)
        bom = json.loads(file.read_text())
        self.assertEqual(bom["metadata"]["component"]["type"], "container")
        self.assertIn(digest.removeprefix("sha256:"), json.dumps(bom["metadata"]["component"]["hashes"]))
        parts = {it["name"]: it for it in bom["components"]}
        self.assertEqual(parts["libc6"]["purl"], "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12")
        self.assertEqual(parts["libc6"]["licenses"], [{"license": {"name": "LGPL-2.1+"}}])
        self.assertEqual(parts["tzdata"]["version"], "2025b-0")
        self.assertEqual(parts["sluice"]["type"], "application")
        of_binary = {it["bom-ref"] for it in self.bom["components"]}
        self.assertLessEqual(of_binary, {it["bom-ref"] for it in bom["components"]})


class Reproducible(unittest.TestCase):
    """What tests/deploy/reproducible needs long to show."""

    def setUp(self):
        self.text = DOCKERFILE.read_text()

    def test_the_bases_have_digests(self):
        bases = re.findall(r"(?m)^FROM (\S+)", self.text)
        self.assertEqual(len(bases), 2)
        for base in bases:
            self.assertRegex(base, r"^[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$")
        self.assertRegex((RELEASE / "image").read_text(), r"BUILDKIT=moby/buildkit:v[\d.]+@sha256:[0-9a-f]{64}\n")

    def test_the_build_installs_nothing(self):
        self.assertNotRegex(self.text, r"\b(apt-get|curl|wget|pip|cargo install)\b")
        # A frontend that is fetched at each build could change what it makes of the same file.
        self.assertNotRegex(self.text, r"(?m)^# syntax=")

    def test_the_compiler_is_at_least_the_one_that_the_manifest_asks_for(self):
        manifest = (ROOT / "Cargo.toml").read_text()
        wanted = re.search(r'(?m)^rust-version = "([\d.]+)"', manifest).group(1)
        has = re.search(r"FROM rust:([\d.]+)-", self.text).group(1)
        numbers = lambda version: [int(part) for part in version.split(".")]
        self.assertGreaterEqual(numbers(has), numbers(wanted))

    def test_files_of_the_image_have_the_time_of_the_commit(self):
        copied = " ".join(re.findall(r"(?m)^COPY --from=build (?:--chown=\S+ )?(.*)$", self.text)).split()
        touched = re.search(r"find (.*?) \\\n +-exec touch --no-dereference --date=\"@\$SOURCE_DATE_EPOCH\"",
                            self.text).group(1).split()
        sources = {path.removeprefix("/src/") for path in copied if path.startswith("/src/")} | {"/share", "/state"}
        self.assertEqual(set(touched), sources)

    @tools.needs("buildah")
    def test_the_last_stage_has_one_digest_however_old_its_files_are(self):
        """The bases of the stages can't be fetched everywhere, so both are empty here."""
        last = self.text.split("\nFROM ")[-1].split("\n", 1)[1]
        digests = {fixed: {self.digest(last, age, fixed) for age in (1_000, 2_000)} for fixed in (True, False)}
        self.assertEqual(len(digests[True]), 1, digests)
        self.assertEqual(len(digests[False]), 2, "without a fixed time they differ")

    def digest(self, last_stage, age, is_time_fixed):
        files = re.findall(r"/src/(\S+) ", last_stage)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            context = folder / "context"
            for name in [*(f"src/{file}" for file in files), "share/man/man1/sluice.1", "state/.keep"]:
                (context / name).parent.mkdir(parents=True, exist_ok=True)
                (context / name).write_text(name)
            for path in [*context.rglob("*"), context]:
                os.utime(path, (age, age))
            (folder / "Dockerfile").write_text(f"FROM scratch AS build\nCOPY . /\n\nFROM scratch\n{last_stage}")
            buildah = ["buildah", "--root", folder / "storage", "--runroot", folder / "run", "--storage-driver", "vfs"]
            fixed = ["--timestamp", "86400"] if is_time_fixed else []
            for step in (["bud", "--isolation", "chroot", "--format", "oci", "--no-cache", *fixed, "--tag", "sluice",
                          "--file", folder / "Dockerfile", context],
                         ["push", "--quiet", "--digestfile", folder / "digest", "sluice", f"dir:{folder / 'image'}"]):
                done = tools.call(*buildah, *step)
                self.assertEqual(done.returncode, 0, done.stderr)
            return (folder / "digest").read_text()

    def test_the_scripts_can_be_run_and_read(self):
        for path in [RELEASE / "binary", RELEASE / "image", ROOT / "tests" / "deploy" / "reproducible"]:
            self.assertTrue(path.stat().st_mode & stat.S_IXUSR, path)
            done = tools.call("bash", "-n", path)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_binary_is_built_with_fixed_names_for_its_folders_and_the_counts_of_the_profile(self):
        with tempfile.TemporaryDirectory() as folder:
            shim = pathlib.Path(folder) / "cargo"
            shim.write_text('#!/bin/sh\nprintf %s "$CARGO_ENCODED_RUSTFLAGS" | tr "\\037" "\\n"\necho\n'
                            'echo "$CFLAGS"\necho "$RUSTFLAGS.$@"\n')
            shim.chmod(0o755)
            env = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": "/home/some one", "RUSTFLAGS": "-Cno",
                   "CARGO_TARGET_DIR": f"{folder}/target"}
            done = tools.call(RELEASE / "binary", "--quiet", env=env, cwd="/")
        words = (RELEASE / "llvm-args").read_text().split()
        of_llvm = ["-Cllvm-args=" + " ".join(words)] if platform.machine() == "x86_64" else []
        self.assertEqual(done.stdout.splitlines(), [
            "--remap-path-prefix=/home/some one/.cargo=/cargo",
            f"--remap-path-prefix={ROOT}=/src",
            f"--remap-path-prefix={folder}/target=/target",
            f"-Cprofile-use={RELEASE}/sluice.profdata",
            *of_llvm,
            "'-ffile-prefix-map=/home/some one/.cargo=/cargo' "
            f"'-ffile-prefix-map={folder}/target=/target'",
            ".build --profile dist --locked --bin sluice --quiet"])


class Sources(unittest.TestCase):
    """Where crates come from."""

    def test_every_crate_is_of_the_registry_and_has_a_sum(self):
        import tomllib
        lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
        for package in lock["package"]:
            if "source" in package:
                self.assertEqual(package["source"], "registry+https://github.com/rust-lang/crates.io-index")
                self.assertRegex(package["checksum"], r"^[0-9a-f]{64}$", package["name"])
            else:
                self.assertTrue(package["name"].startswith("sluice"), package["name"])

    def test_the_policy_allows_no_other_source(self):
        import tomllib
        sources = tomllib.loads((ROOT / "deny.toml").read_text())["sources"]
        self.assertEqual(sources, {"unknown-registry": "deny", "unknown-git": "deny", "allow-git": [],
                                   "allow-registry": ["https://github.com/rust-lang/crates.io-index"]})

    def test_what_ci_and_releases_build_is_that_of_the_lock_file(self):
        for file in (ROOT / ".ci" / "run", RELEASE / "binary", RELEASE / "sbom", ROOT / ".github/workflows/release.yml"):
            for line in file.read_text().splitlines():
                if re.search(r"^\s*(exec )?(\S+=\S+ )*(\./test|cargo (build|clippy|doc|test|install|metadata|tree))\b", line):
                    self.assertIn("--locked", line, f"{file.name}: {line}")


class Workflow(unittest.TestCase):
    def setUp(self):
        self.file = ROOT / ".github" / "workflows" / "release.yml"
        self.text = self.file.read_text()
        self.workflow = yaml.safe_load(self.text)
        self.jobs = self.workflow["jobs"]

    def steps(self, name):
        return self.jobs[name]["steps"]

    def script(self, name):
        return "\n".join(step.get("run", "") for step in self.steps(name))

    def test_the_schema_of_workflows_takes_it(self):
        done = tools.call(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", self.file)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_linter_finds_nothing(self):
        done = tools.call(BIN / "zizmor", "--offline", "--quiet", self.file)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_actions_are_pinned_by_commit(self):
        used = re.findall(r"(?m)uses: (.*)$", self.text)
        self.assertGreaterEqual(len(used), 4)
        for action in used:
            self.assertRegex(action, PINNED)

    def test_no_job_may_do_more_than_it_needs(self):
        self.assertEqual(self.workflow["permissions"], {})
        read = {"contents": "read"}
        self.assertEqual({name: job["permissions"] for name, job in self.jobs.items()},
                         {"build": read, "test": read, "reproduce": read,
                          "publish": {"contents": "write", "packages": "write", "id-token": "write",
                                      "attestations": "write"}})
        for job in self.jobs.values():
            for step in job["steps"]:
                if "checkout" in step.get("uses", ""):
                    self.assertIs(step["with"]["persist-credentials"], False)

    def test_nothing_is_published_before_all_is_built_tested_and_built_again(self):
        self.assertEqual(set(self.jobs["publish"]["needs"]), {"build", "test", "reproduce"})
        self.assertIn(".ci/run", self.script("test"))
        self.assertIn("--no-cache", self.script("reproduce"))
        for job in ("build", "test", "reproduce"):
            self.assertNotRegex(self.script(job), r"docker push|skopeo copy|gh release")

    def test_the_release_comes_after_the_signatures_of_all_its_files(self):
        names = [step.get("uses", "").split("@")[0] or step.get("name") for step in self.steps("publish")]
        last_signature = len(names) - 1 - names[::-1].index("actions/attest")
        self.assertGreater(names.index("Publish the release"), last_signature)
        signed = [step["with"] for step in self.steps("publish") if "actions/attest@" in step.get("uses", "")]
        self.assertEqual(signed[0], {"subject-checksums": "dist/SHA256SUMS"})
        self.assertEqual(sum("sbom-path" in it for it in signed), len(self.jobs["build"]["strategy"]["matrix"]["include"]))

    def test_both_builds_are_of_the_same_architectures(self):
        kinds = lambda job: {(it["arch"], it["runner"]) for it in self.jobs[job]["strategy"]["matrix"]["include"]}
        self.assertEqual(kinds("build"), kinds("reproduce"))
        self.assertEqual({arch for arch, _ in kinds("build")}, {"amd64", "arm64"})

    def test_its_compiler_is_that_of_the_image(self):
        of_image = re.search(r"FROM rust:([\d.]+)-", DOCKERFILE.read_text()).group(1)
        self.assertEqual(str(self.workflow["env"]["RUST"]), of_image)

    def test_its_scripts_are_valid(self):
        for job in self.jobs.values():
            for step in job["steps"]:
                if "run" in step:
                    done = tools.call("bash", "-n", "-c", step["run"])
                    self.assertEqual(done.returncode, 0, step.get("name", "") + done.stderr)

    def test_it_takes_the_binary_that_the_image_has(self):
        self.assertIn(f"../root{Image().binary} ", self.script("build"))

    def test_the_notes_of_a_release_are_its_section_of_the_changelog(self):
        publish = self.script("publish")
        command = re.search(r"(awk .*\n.*)> notes.md", publish).group(1)
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "CHANGELOG.md").write_text("# C\n\n## Unreleased\n- a\n\n## 1.2.3\n- b\n\n## 1.2\n- c\n")
            done = tools.call("bash", "-c", f"version=1.2.3; {command}", cwd=folder)
        self.assertEqual(done.stdout.strip(), "- b")


if __name__ == "__main__":
    unittest.main()
