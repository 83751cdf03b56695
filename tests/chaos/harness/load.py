"""The clients: threads that send gentle traffic of every kind to each gateway, and see that each answer is
that of its own request.

Each request has a nonce, which the simulator's answer repeats. An answer with another one, or with none, is
the answer to a wrong request. What came of each request is kept as a `Request`.
"""

import dataclasses
import http.client
import json
import re
import secrets
import threading
import time

from . import fleet
from .fleet import GATEWAYS, MAX_TOKENS, MODEL, PORT, SCARCE

NONCE = re.compile(r"nonce[0-9a-f]{16}")
# Longer than a gateway's time for a whole request.
PATIENCE_S = 20.0
SESSION = "chaos"


@dataclasses.dataclass
class Request:
    """One request and what came of it."""

    kind: str
    client: str
    gateway: int
    began: float
    nonce: str = dataclasses.field(default_factory=lambda: "nonce" + secrets.token_hex(8))
    ended: float = 0.0
    # 0 while there is no answer.
    status: int = 0
    # Whether the answer is whole; a reason if it is not, or is none.
    is_whole: bool = False
    problem: str = ""
    # The model that answered, and how many attempts it took.
    model: str = ""
    attempts: int = 0
    # Of a chat: the id of its job, or None if it was answered at once.
    job: str | None = None
    # Of Responses: its id, whether it is kept.
    response: str | None = None
    is_kept: bool = False

    @property
    def is_answered(self):
        return self.status == 200 and self.is_whole


class Wrong(Exception):
    """An answer that is not the one of its request."""


class Load:
    """All traffic. `requests` has every request that has ended, `wrong` every wrong answer."""

    def __init__(self):
        self.lock = threading.Lock()
        self.requests, self.wrong = [], []
        self.stopped = threading.Event()
        self.threads = []

    def start(self):
        for gateway in range(len(GATEWAYS)):
            for kind, pause in [(Converse, 0.25), (Stream, 0.3), (Conversation, 0.5), (Chat, 0.5),
                                (Scarce, 0.2), (Scarce, 0.2)]:
                self.spawn(kind(self, gateway), pause)

    def spawn(self, worker, pause, until=None):
        arguments = (worker, pause, until or self.stopped)
        thread = threading.Thread(target=self.repeat, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def repeat(self, worker, pause, until):
        while not until.is_set() and not self.stopped.is_set():
            worker.once()
            until.wait(pause)
        worker.close()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def note(self, request):
        with self.lock:
            self.requests.append(request)

    def note_wrong(self, request, why):
        with self.lock:
            self.wrong.append((request, why))

    def since(self, began, kind=None):
        """Requests that ended after this time."""
        with self.lock:
            return [it for it in self.requests if it.ended >= began and kind in (None, it.kind)]


class Worker:
    """Sends one kind of request to one gateway over one connection, which it opens again after a failure."""

    kind, path, headers = "", "", {}
    client = "open"

    def __init__(self, load, gateway, client="open"):
        self.load, self.gateway, self.client = load, gateway, client
        self.connections = {}

    def once(self):
        request = self.request()
        self.send(request, self.gateway, "POST", self.path, self.body(request))
        self.load.note(request)

    def request(self):
        return Request(self.kind, self.client, self.gateway, time.monotonic())

    def send(self, request, gateway, method, path, body=None):
        """Sends it, reads the answer and judges it. Returns the text, if the answer is whole."""
        text = None
        try:
            connection = self.connection(gateway)
            headers = {"authorization": "Bearer " + fleet.key_of(request.client),
                       "content-type": "application/json", **self.headers}
            connection.request(method, path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            request.model = answer.getheader("x-sluice-model", "")
            request.attempts = int(answer.getheader("x-sluice-attempts", "0"))
            text = answer.read().decode()
            request.status = answer.status
            if answer.status == 200:
                self.read(request, text)
            else:
                request.problem = text[:200]
        except Wrong as wrong:
            self.load.note_wrong(request, str(wrong))
        except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
            request.problem = f"{type(error).__name__} {error}"
            self.drop(gateway)
        request.ended = time.monotonic()
        return text if request.is_whole else None

    def connection(self, gateway):
        if gateway not in self.connections:
            connection = http.client.HTTPConnection(GATEWAYS[gateway], PORT, timeout=PATIENCE_S)
            self.connections[gateway] = connection
        return self.connections[gateway]

    def drop(self, gateway):
        connection = self.connections.pop(gateway, None)
        if connection:
            connection.close()

    def close(self):
        for gateway in list(self.connections):
            self.drop(gateway)

    def body(self, request):
        raise NotImplementedError

    def read(self, request, text):
        """Sees whether a success is the answer of this request, and whole."""
        has_only(text, request.nonce)
        request.is_whole = True


def has_only(text, *nonces):
    """That the text repeats these nonces and no other."""
    found = set(NONCE.findall(text))
    if found != set(nonces):
        raise Wrong(f"has {sorted(found)}, not {sorted(nonces)}: {text[:300]}")


class Converse(Worker):
    """Bedrock's own operation, answered whole."""

    kind, model, tokens = "converse", MODEL, 20

    @property
    def path(self):
        return f"/model/{self.model.replace(':', '%3A')}/converse"

    def body(self, request):
        text = f"{request.nonce} sim:tokens={self.tokens}"
        return {"messages": [{"role": "user", "content": [{"text": text}]}],
                "inferenceConfig": {"maxTokens": MAX_TOKENS}}


class Scarce(Converse):
    """The same with the model whose quota the fleet shares."""

    kind, model = "scarce", SCARCE


class Spend(Converse):
    """The same for a client with a small budget."""

    kind, tokens = "spend", 50


class Stream(Worker):
    """Messages as a stream of a second, which is whole if its last event came."""

    kind, path = "stream", "/anthropic/v1/messages"
    headers = {"anthropic-version": "2023-06-01"}

    def body(self, request):
        text = f"{request.nonce} sim:tokens=40 sim:token_ms=20"
        return {"model": MODEL, "max_tokens": MAX_TOKENS, "stream": True,
                "messages": [{"role": "user", "content": text}]}

    def read(self, request, text):
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        kinds = [event["type"] for event in events]
        said = "".join(event["delta"].get("text", "") for event in events
                       if event["type"] == "content_block_delta")
        if "error" in kinds:
            # What came before it is the beginning of this answer.
            if any(nonce != request.nonce for nonce in NONCE.findall(said)):
                raise Wrong(f"another's beginning: {said}")
            request.problem = text[-200:]
            return
        if kinds[-1:] != ["message_stop"]:
            raise Wrong(f"ends as if it were whole, without its last event: {text[-300:]}")
        has_only(said, request.nonce)
        request.is_whole = True


class Conversation(Worker):
    """Two turns of Responses at two gateways, which the fleet keeps; the third gateway shows them."""

    kind, path = "responses", "/openai/v1/responses"

    def once(self):
        first, second = self.request(), self.request()
        others = [(self.gateway + step) % len(GATEWAYS) for step in (1, 2)]
        self.send(first, self.gateway, "POST", self.path, self.body(first))
        self.load.note(first)
        if not first.is_kept:
            return
        second.kind, second.gateway, second.began = "turn", others[0], time.monotonic()
        body = self.body(second) | {"previous_response_id": first.response}
        self.send(second, others[0], "POST", self.path, body)
        self.load.note(second)
        if not second.is_kept:
            return
        look = Look(self.load, others[1], first, second)
        look.once()
        look.close()

    def body(self, request):
        text = f"{request.nonce} sim:tokens=20"
        return {"model": MODEL, "max_output_tokens": MAX_TOKENS, "input": text}

    def read(self, request, text):
        response = json.loads(text)
        has_only(json.dumps(response["output"]), request.nonce)
        request.is_whole = True
        request.response, request.is_kept = response["id"], response["store"]


class Look(Worker):
    """Reads what is kept of two turns."""

    kind = "look"

    def __init__(self, load, gateway, first, second):
        super().__init__(load, gateway)
        self.first, self.second = first, second

    def once(self):
        request = self.request()
        path = f"/openai/v1/responses/{self.second.response}/input_items?order=asc&limit=50"
        self.send(request, self.gateway, "GET", path)
        self.load.note(request)

    def read(self, request, text):
        has_only(text, self.first.nonce, self.second.nonce)
        if text.index(self.first.nonce) > text.index(self.second.nonce):
            raise Wrong(f"turns in a wrong order: {text[:300]}")
        request.is_whole = True


class Chat(Worker):
    """A question to the legacy endpoint: a job, or answered at once while there is no queue."""

    kind, path, head_ms = "chat", "/chat", 300

    def body(self, request):
        message = f"{request.nonce} sim:tokens=20 sim:head_ms={self.head_ms}"
        return {"session_id": SESSION, "message": message}

    def read(self, request, text):
        answer = json.loads(text)
        request.job = answer.get("task_id")
        if request.job is None:
            has_only(answer.get("response", ""), request.nonce)
        request.is_whole = True


class SlowChat(Chat):
    """One whose model thinks for long, so that its job is at work when something befalls its gateway."""

    head_ms = 1500


def open_session(gateway):
    """Chats need a session, which lives in one gateway and begins with an analysis."""
    body = {"session_id": SESSION, "section_name": "S", "content": "hello", "async": False}
    headers = {"authorization": "Bearer " + fleet.key_of("open"), "content-type": "application/json"}
    where = (GATEWAYS[gateway], PORT, "POST", "/analyze_section")
    status, text = fleet.call(*where, body, headers, PATIENCE_S)
    if status != 200:
        raise SystemExit(f"no session: {status} {text}")
