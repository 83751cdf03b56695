"""Where the checkers are, the parts under test, and processes of the gateway for as long as a test runs.

`run` installs the checkers and says by the environment where each is; what it could not install is not
there, and the tests that need it say that they did not check.
"""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm"
DEPLOY = ROOT / "deploy"
SLUICE = os.environ.get("SLUICE", "")
# The simulator's own key, which is public.
SIMULATOR_KEY = {"AWS_ACCESS_KEY_ID": "AKIDSIMULATOR", "AWS_SECRET_ACCESS_KEY": "simulator-secret-key"}


def found(variable_or_command):
    """The checker's path, if it is on this machine."""
    path = os.environ.get(variable_or_command, "")
    if path and os.access(path, os.X_OK):
        return path
    return shutil.which(variable_or_command)


def needs(*names):
    """Skips what needs a checker that is not here, and says so."""
    lacking = [name for name in names if not found(name)]
    return unittest.skipIf(lacking, f"NOT checked: {', '.join(lacking)} is not on this machine")


def call(*command, **keywords):
    """A finished process, its output as text."""
    return subprocess.run([str(part) for part in command], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=120, **keywords)


def sluice_check(config, env):
    """What `sluice check --offline` says of a config file."""
    return call(SLUICE, "check", "--offline", "--config", config, env=bare_environment() | env)


def bare_environment():
    """Nothing but what a process needs: no variable of this machine configures a gateway."""
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(*command, log=None, **keywords):
    """A process that is ended with the block, whatever happens in it."""
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                               stdout=log or subprocess.DEVNULL, stderr=subprocess.STDOUT, **keywords)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def simulator(*arguments):
    """The simulated Bedrock; its port."""
    port = free_port()
    with running(SLUICE, "simulate", "--listen", f"127.0.0.1:{port}", *arguments) as process:
        until(lambda: listens(port), process)
        yield port


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def until(condition, process, seconds=20):
    """Waits for a condition of a process that must not end meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"{process.args[0]} ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise AssertionError(f"{process.args[0]}: not within {seconds} s")
        time.sleep(0.05)


def request(port, method, path, body=None, headers=None):
    """Status and body of an answer; no status if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return None, b""
    finally:
        connection.close()


def converse(port, model, headers=None):
    """The status of one question to a model."""
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": "Hello"}]}],
                       "inferenceConfig": {"maxTokens": 16}})
    path = f"/model/{model.replace(':', '%3A')}/converse"
    headers = {"content-type": "application/json"} | (headers or {})
    return request(port, "POST", path, body, headers)[0]
