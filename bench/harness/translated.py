"""Requests of Chat Completions and Messages whose answers are translations of Converse's.

Of each side one answer is checked for the upstream's text. The load generator then holds all others against
its length, or against its number of events.
"""

import json

from . import configs, workloads
from .load import ask

# What a stream of the upstream has beside its tokens: messageStart, contentBlockStop, messageStop, metadata.
WITHOUT_TEXT = 4


class Translated(workloads.Workload):
    """`text` takes the text out of an answer, or out of the data of one event."""

    def __init__(self, name, body, path, text, connections=16, frames=None):
        super().__init__(name, "", body, connections, frames, path=path)
        self.text = text
        self.translated = True

    def check(self, port, headers):
        """Ends the row unless the answer has the upstream's text; notes its length or its events."""
        status, data = ask(port, self, headers)
        if status != 200:
            raise SystemExit(f"{self.name}: status {status} on {port}: {data[:500]}")
        if self.per == 1:
            text, self.answer_bytes = self.text(json.loads(data)), len(data)
            is_right = set(text) == {"x"} and len(text) > 800
        else:
            events = data.decode().strip().split("\n\n")
            lines = [line[6:] for event in events for line in event.splitlines()
                     if line.startswith("data: {")]
            text, self.frames = "".join(self.text(json.loads(line)) for line in lines), len(events)
            is_right = text == " token" * (self.per - WITHOUT_TEXT)
        if not is_right:
            raise SystemExit(f"{self.name}: a wrong answer on {port}: {data[:500]}")


def of_chat(answer):
    parts = [choice.get("message") or choice.get("delta") or {} for choice in answer.get("choices", [])]
    return "".join(part.get("content") or "" for part in parts)


def of_message(answer):
    parts = [*answer.get("content", []), answer.get("delta", {})]
    return "".join(part.get("text", "") for part in parts)


def chat(model=configs.MODELS[0][1], path=workloads.CHAT):
    return Translated("Chat Completions by Converse, 1 KB in, 1 KB out",
                      workloads.chat(1024, model=model), path, of_chat)


def chat_stream(connections, model=configs.MODELS[0][1], path=workloads.CHAT):
    body = workloads.chat(1024, model=model, stream=True, stream_options={"include_usage": True})
    return Translated(f"Chat Completions by Converse, {workloads.FRAMES} frames", body, path, of_chat,
                      connections, workloads.FRAMES)


def messages():
    work = Translated("Messages by Converse, 1 KB in, 1 KB out",
                      workloads.message(1024, model=configs.NOVA[0][1]), workloads.MESSAGES, of_message)
    work.headers.append(workloads.ANTHROPIC_VERSION)
    return work


def messages_stream(connections):
    body = workloads.message(1024, model=configs.NOVA[0][1], stream=True)
    work = Translated(f"Messages by Converse, {workloads.FRAMES} frames", body, workloads.MESSAGES,
                      of_message, connections, workloads.FRAMES)
    work.headers.append(workloads.ANTHROPIC_VERSION)
    return work
