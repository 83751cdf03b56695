"""Requests: path, body, headers, and what their answers must have."""

import datetime
import hashlib
import hmac
import json
import urllib.parse

from . import configs

FRAMES = 200
# Bytes of the upstream's unary answer.
ANSWER_BYTES = 1024
ANTHROPIC_VERSION = "anthropic-version: 2023-06-01"
# What an SDK sends beside its authorization.
SDK = [
    "content-type: application/json",
    "accept: application/json",
    "user-agent: Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux lang/python#3.12.0",
    "amz-sdk-invocation-id: 00000000-0000-4000-8000-000000000000",
    "amz-sdk-request: attempt=1",
]


def fill(body, size, put):
    """The body as JSON, with text put in until it has `size` bytes."""
    put("")
    put("x" * (size - len(json.dumps(body))))
    return json.dumps(body).encode()


def anthropic(size):
    part = {"type": "text"}
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1000,
            "messages": [{"role": "user", "content": [part]}]}
    return fill(body, size, lambda text: part.update(text=text))


def converse(size):
    part = {}
    body = {"messages": [{"role": "user", "content": [part]}],
            "inferenceConfig": {"maxTokens": 1000}}
    return fill(body, size, lambda text: part.update(text=text))


def message(size, **more):
    """A request of Messages."""
    part = {"role": "user"}
    body = {"model": configs.MODELS[0][1], "max_tokens": 1000, "messages": [part], **more}
    return fill(body, size, lambda text: part.update(content=text))


def chat(size, **more):
    """A request of Chat Completions."""
    part = {"role": "user"}
    body = {"model": configs.CHAT_MODELS[0][1], "max_completion_tokens": 1000, "messages": [part], **more}
    return fill(body, size, lambda text: part.update(content=text))


# The paths of these.
CHAT, MESSAGES = "/openai/v1/chat/completions", "/anthropic/v1/messages"


class Workload:
    def __init__(self, name, operation, body, connections=16, frames=None,
                 model=configs.MODELS[0][1], path=None):
        self.name, self.body, self.connections, self.frames = name, body, connections, frames
        self.path = path or f"/model/{urllib.parse.quote(model, safe='{}')}/{operation}"
        # What CPU time is divided by: requests, or the frames of their answers.
        self.per, self.unit = (frames, "frame") if frames else (1, "request")
        # Headers beside those of the side.
        self.headers = []
        self.answer_bytes = ANSWER_BYTES
        # Whether the answer is another than the upstream's.
        self.translated = False
        # Lines that take the place of {} in path and headers, in turn.
        self.variants = None


def invoke(size, name):
    return Workload(f"InvokeModel, {name} in, 1 KB out", "invoke", anthropic(size),
                    connections=8 if size > 100_000 else 16)


def chat_completion():
    return Workload("Chat Completions, 1 KB in, 1 KB out", "", chat(1024), path=CHAT)


def messages():
    work = Workload("Messages, 1 KB in, 1 KB out", "", message(1024), path=MESSAGES)
    work.headers.append(ANTHROPIC_VERSION)
    return work


def stream(connections, frames=FRAMES):
    work = Workload(f"ConverseStream, {frames} frames", "converse-stream", converse(1024),
                    connections=connections, frames=frames)
    work.headers.append(f"x-bench-frames: {frames}")
    return work


def chat_stream(connections, frames=FRAMES):
    """The client asks for the usage itself, so that the upstream gets the body as it is."""
    body = chat(1024, stream=True, stream_options={"include_usage": True})
    work = Workload(f"Chat Completions, {frames} events", "", body, connections=connections,
                    frames=frames, path=CHAT)
    work.headers.append(f"x-bench-frames: {frames}")
    return work


def messages_stream(connections, frames=FRAMES):
    work = Workload(f"Messages, {frames} events", "", message(1024, stream=True),
                    connections=connections, frames=frames, path=MESSAGES)
    work.headers += [f"x-bench-frames: {frames}", ANTHROPIC_VERSION]
    return work


def bearer(token=configs.bearer_of(0)):
    return lambda workload, port: [*SDK, f"authorization: Bearer {token}"]


def signed(workload, port, secret=configs.CLIENT_SECRET):
    """Headers of a request that is signed now. Source: AWS's "Create a signed AWS API request"."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    day = now[:8]
    path = urllib.parse.quote(workload.path, safe="/-_.~")
    names = "content-type;host;x-amz-date"
    canonical = "\n".join([
        "POST", path, "", "content-type:application/json", f"host:127.0.0.1:{port}",
        f"x-amz-date:{now}", "", names, hashlib.sha256(workload.body).hexdigest(),
    ])
    scope = f"{day}/{configs.REGION}/bedrock/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope,
                         hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return [*SDK, f"x-amz-date: {now}",
            f"authorization: AWS4-HMAC-SHA256 Credential={configs.CLIENT_KEY}/{scope}, "
            f"SignedHeaders={names}, Signature={key.hex()}"]
