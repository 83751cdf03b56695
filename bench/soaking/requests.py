"""One request of each kind, made with dice: path, body, headers, and how its answer ends if it is whole."""

import json
import urllib.parse
from dataclasses import dataclass, field

from . import configs

CHAT, RESPONSES, EMBEDDINGS = "/openai/v1/chat/completions", "/openai/v1/responses", "/openai/v1/embeddings"
MESSAGES, MODELS = "/anthropic/v1/messages", "/openai/v1/models"
VERSION = {"anthropic-version": "2023-06-01"}
# Characters of texts. A token has four; the long ones are hashed and parsed on other threads.
SHORT, LONG = [40, 400, 8_000], [200_000, 700_000]


@dataclass
class Request:
    kind: str
    path: str
    body: dict | None = None
    method: str = "POST"
    headers: dict = field(default_factory=dict)
    # What the last bytes of a stream contain if it is whole; None: the answer is no stream.
    ends_with: bytes | None = None
    # A text that a whole answer must contain, so that it is known to be this request's.
    marker: bytes | None = None
    # Whether the gateway is to keep the response.
    is_kept: bool = False

    def data(self):
        return None if self.body is None else json.dumps(self.body).encode()


class Maker:
    """Makes requests with the dice of one thread; `name` makes its markers its own."""

    def __init__(self, dice, name):
        self.dice, self.name, self.count = dice, name, 0

    def text(self, long=False):
        self.count += 1
        marker = f"mark-{self.name}-{self.count}-end"
        length = self.dice.choice(LONG if long else SHORT)
        words = f"{marker} sim:tokens={self.dice.randrange(3, 40)} "
        return marker.encode(), words + "x" * max(0, length - len(words))

    def native(self, kind, long=False):
        marker, text = self.text(long)
        operation, is_stream = kind, "stream" in kind
        model = configs.CLAUDE
        if "converse" in kind:
            model = self.dice.choice([configs.CLAUDE, configs.NOVA, "mixed"])
            body = {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": 60}}
            ending = b"messageStop"
        else:
            body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 60,
                    "messages": [{"role": "user", "content": text}]}
            ending = b"message_stop"
        path = f"/model/{urllib.parse.quote(model, safe='')}/{operation}"
        return Request(kind + (" long" if long else ""), path, body, ends_with=ending if is_stream else None,
                       marker=None if is_stream else marker)

    def count_tokens(self):
        _, text = self.text()
        converse = {"converse": {"messages": [{"role": "user", "content": [{"text": text}]}]}}
        path = f"/model/{urllib.parse.quote(configs.SONNET_46, safe='')}/count-tokens"
        return Request("count-tokens", path, {"input": converse})

    def guardrail(self):
        _, text = self.text()
        return Request("apply-guardrail", "/guardrail/gr-0123456789/version/1/apply",
                       {"source": "INPUT", "content": [{"text": {"text": text}}]})

    def chat(self, is_bridged, is_stream, long=False):
        marker, text = self.text(long)
        model = self.dice.choice([configs.CLAUDE, configs.NOVA, "mixed"]) if is_bridged else configs.GPT_OSS
        body = {"model": model, "max_completion_tokens": 60, "messages": [{"role": "user", "content": text}]}
        if is_stream:
            body["stream"] = True
            if self.dice.random() < 0.5:
                body["stream_options"] = {"include_usage": True}
        return self.of_api("chat", CHAT, body, is_bridged, is_stream, b"data: [DONE]", marker, long)

    def message(self, is_bridged, is_stream, long=False):
        marker, text = self.text(long)
        model = configs.NOVA if is_bridged else configs.CLAUDE
        body = {"model": model, "max_tokens": 60, "messages": [{"role": "user", "content": text}]}
        if is_stream:
            body["stream"] = True
        request = self.of_api("messages", MESSAGES, body, is_bridged, is_stream, b"message_stop", marker, long)
        request.headers = VERSION
        return request

    def response(self, is_bridged, is_stream, previous=None, store=None):
        marker, text = self.text()
        model = self.dice.choice([configs.CLAUDE, configs.NOVA]) if is_bridged else configs.GPT
        body = {"model": model, "max_output_tokens": 60, "input": text}
        if previous:
            body["previous_response_id"] = previous
        if store is not None:
            body["store"] = store
        if is_stream:
            body["stream"] = True
        # `response.incomplete` ends a whole answer too, one that was cut at its maximum.
        request = self.of_api("responses", RESPONSES, body, is_bridged, is_stream, b'"type":"response.', marker)
        request.is_kept = is_bridged and store is not False
        return request

    def of_api(self, api, path, body, is_bridged, is_stream, ending, marker, long=False):
        words = [api, "bridged" if is_bridged else "passed"] + ["stream"] * is_stream + ["long"] * long
        return Request(" ".join(words), path, body, ends_with=ending if is_stream else None,
                       marker=None if is_stream else marker)

    def count_message(self):
        _, text = self.text()
        body = {"model": configs.SONNET_46, "messages": [{"role": "user", "content": text}]}
        return Request("messages count_tokens", MESSAGES + "/count_tokens", body, headers=VERSION)

    def embedding(self):
        model, count = self.dice.choice([("titan", self.dice.randrange(1, 5)), ("cohere", self.dice.randrange(1, 130))])
        return Request("embeddings", EMBEDDINGS, {"model": model, "input": [f"text {n} of it" for n in range(count)]})

    def models(self):
        path = MODELS + self.dice.choice(["", "", "/" + urllib.parse.quote(configs.GPT, safe="")])
        return Request("models", path, method="GET")

    def mistake(self):
        """What no gateway may pass on, or no model takes."""
        return self.dice.choice([
            Request("mistakes", CHAT, {"model": "no-such-model", "messages": [{"role": "user", "content": "x"}]}),
            Request("mistakes", CHAT, {"model": configs.CLAUDE, "messages": "x"}),
            Request("mistakes", "/model/no-such-model/converse", {"messages": []}),
            Request("mistakes", RESPONSES + "/resp_00000000000000000000000000000000", method="GET"),
            Request("mistakes", MESSAGES, {"model": configs.CLAUDE}, headers=VERSION),
        ])


# What a request is, and its share of all.
def mix():
    bridged_and_streamed = [(b, s) for b in (False, True) for s in (False, True)]
    kinds = [(4, lambda make: make.native("invoke")), (4, lambda make: make.native("converse")),
             (4, lambda make: make.native("invoke-with-response-stream")),
             (4, lambda make: make.native("converse-stream")),
             (2, Maker.count_tokens), (1, Maker.guardrail), (2, Maker.count_message), (1, Maker.models),
             (1, Maker.mistake)]
    for b, s in bridged_and_streamed:
        kinds += [(4, lambda make, b=b, s=s: make.chat(b, s)), (4, lambda make, b=b, s=s: make.message(b, s))]
    kinds += [(0.3, lambda make: make.native("invoke", True)), (0.3, lambda make: make.native("converse", True)),
              (0.2, lambda make: make.chat(True, True, True)), (0.2, lambda make: make.message(False, False, True))]
    return kinds


# What the one who leaves asks for.
def left():
    return [(1, lambda make: make.native("converse-stream")),
            (1, lambda make: make.native("invoke-with-response-stream")),
            (1, lambda make: make.native("invoke")), (1, lambda make: make.chat(True, True)),
            (1, lambda make: make.chat(False, True)), (1, lambda make: make.message(True, True)),
            (1, lambda make: make.message(False, False)), (1, lambda make: make.response(True, True)),
            (0.2, lambda make: make.native("converse", True))]


def chosen(dice, kinds):
    return dice.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]
