"""Runs the snippets of the documentation: see ./run.

Every Python and JavaScript block of the pages runs, and every shell block that calls the AWS CLI,
each in an environment without any AWS variable. Blocks of exports are tried with clients that are
told nothing else. A snippet passes if it exits with 0 and prints the simulated answer.
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "docs/clients.md"]
URL = "http://127.0.0.1:8080"
MODEL = re.compile(r'"((?:[a-z]+\.)?anthropic\.[a-z0-9.:-]+)"')
SECONDS = 120

# What a client that is configured by variables alone does.
BY_VARIABLES = {
    "boto3": """python3 - <<'EOF'
import boto3
answer = boto3.client("bedrock-runtime").converse(
    modelId="MODEL", messages=[{"role": "user", "content": [{"text": "Hello"}]}])
print(answer["output"]["message"]["content"][-1]["text"])
EOF""",
    "AWS CLI": """aws bedrock-runtime converse --model-id MODEL \
  --messages '[{"role":"user","content":[{"text":"Hello"}]}]'""",
    "JavaScript": """node --input-type=module - <<'EOF'
import { BedrockRuntimeClient, ConverseCommand } from "@aws-sdk/client-bedrock-runtime";
const answer = await new BedrockRuntimeClient({}).send(new ConverseCommand({
  modelId: "MODEL", messages: [{ role: "user", content: [{ text: "Hello" }] }] }));
console.log(answer.output.message.content.at(-1).text);
EOF""",
}


def blocks(page):
    """The fenced blocks of a page: heading, language and text."""
    heading, language, lines = "", None, []
    for line in (ROOT / page).read_text().splitlines():
        if language is None and line.startswith("#"):
            heading = line.lstrip("# ")
        elif language is None and line.startswith("```"):
            language, lines = line[3:].split(" ")[0], []
        elif language is not None and line.startswith("```"):
            yield heading, language, "\n".join(lines) + "\n"
            language = None
        else:
            lines.append(line)


class Snippets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        (Path(cls.folder.name) / "node_modules").symlink_to(ROOT / "tests/clients/node_modules")
        local = "127.0.0.1:0"
        cls.demo = subprocess.Popen(
            [os.environ["SLUICE"], "demo", "--listen", local, "--admin-listen", local, "--burst", "1"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in cls.demo.stdout:
            if found := re.match(r"Sluice at (http://[0-9.:]+),", line):
                cls.url = found[1]
                break
        # The first requested model of the page that shows how to begin.
        cls.model = MODEL.search((ROOT / "docs/clients.md").read_text())[1]

    @classmethod
    def tearDownClass(cls):
        cls.demo.kill()
        cls.demo.wait()
        cls.demo.stdout.close()
        cls.folder.cleanup()

    def answers(self, command, text, **variables):
        """Runs a command with the snippet as its input, and asserts that it shows the answer."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": self.folder.name,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            **variables,
        }
        for name in ("LD_LIBRARY_PATH", "SSL_CERT_FILE"):
            if name in os.environ:
                environment[name] = os.environ[name]
        run = subprocess.run(
            command,
            input=text.replace(URL, self.url),
            env=environment,
            cwd=self.folder.name,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        output = f"{text}\n{run.stdout}\n{run.stderr}"
        self.assertEqual(run.returncode, 0, output)
        # The simulated Bedrock repeats the text of the request.
        self.assertIn("Hello", run.stdout, output)

    def each(self, language, chosen=lambda text: True):
        found = [
            (f"{page}: {heading}", text)
            for page in PAGES
            for heading, of, text in blocks(page)
            if of == language and chosen(text)
        ]
        self.assertTrue(found, f"no {language} blocks")
        return found

    def test_python_snippets_run_as_pasted(self):
        for name, text in self.each("python"):
            with self.subTest(name):
                self.answers([sys.executable, "-"], text)

    def test_javascript_snippets_run_as_pasted(self):
        for name, text in self.each("js"):
            with self.subTest(name):
                self.answers(["node", "--input-type=module", "-"], text)

    def test_commands_of_the_aws_cli_run_as_pasted(self):
        profiles = "".join(text.replace(URL, self.url) for _, text in self.each("ini"))
        config = Path(self.folder.name) / "config"
        config.write_text(profiles)
        for name, text in self.each("sh", lambda text: "aws bedrock-runtime" in text):
            with self.subTest(name):
                self.answers(["bash", "-eu"], text, AWS_CONFIG_FILE=str(config))

    def test_the_variables_suffice_for_each_client(self):
        wanted = lambda text: "AWS_ENDPOINT_URL_BEDROCK_RUNTIME=http" in text and "=any" in text
        for name, text in self.each("sh", wanted):
            for client, call in BY_VARIABLES.items():
                with self.subTest(f"{name}: {client}"):
                    self.answers(["bash", "-eu"], text + call.replace("MODEL", self.model) + "\n")


if __name__ == "__main__":
    unittest.main()
