"""Checks with OpenAI's own SDK that a client can read what the golden cases say it gets.

Run it with the Python that has the packages of tests/clients/requirements.txt:

    .venv/bin/python crates/bridge/tests/openai_sdk.py

Every whole answer and every chunk must satisfy the SDK's models strictly, and the chunks of a stream must add
up, by the SDK's own rules, to a message that can be sent back.
"""

import json
import pathlib
import unittest

from openai.lib.streaming._deltas import accumulate_delta
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
# Members that clients have agreed on beside OpenAI's.
AGREED = {"reasoning_content", "thinking_blocks"}


def cases(folder, member):
    for path in sorted((GOLDEN / folder).glob("*.json")):
        case = json.loads(path.read_text())
        if member in case:
            yield path.stem, case[member]


def unknown_members(model, place=""):
    """The members that the SDK has no field for, at any depth."""
    found = {place + name for name in (model.model_extra or {}) if name not in AGREED}
    for name in type(model).model_fields:
        value = getattr(model, name)
        for item in value if isinstance(value, list) else [value]:
            if hasattr(item, "model_extra"):
                found |= unknown_members(item, f"{place}{name}.")
    return found


class Golden(unittest.TestCase):
    def test_whole_answers_are_read(self):
        count = 0
        for name, answer in cases("chat_completions", "client"):
            with self.subTest(name):
                completion = ChatCompletion.model_validate(answer, strict=True)
                self.assertEqual(unknown_members(completion), set())
                count += 1
        self.assertGreater(count, 0)

    def test_streams_are_read_and_add_up(self):
        count = 0
        for name, lines in cases("chat_completions", "events"):
            with self.subTest(name):
                self.check_stream([line.removeprefix("data: ") for line in lines])
                count += 1
        self.assertGreater(count, 0)

    def check_stream(self, data):
        is_done = data[-1] == "[DONE]"
        chunks = [json.loads(line) for line in data[:-1]]
        if not is_done:
            self.assertIn("error", json.loads(data[-1]))
        message, reasons = {}, []
        for chunk in chunks:
            read = ChatCompletionChunk.model_validate(chunk, strict=True)
            self.assertEqual(unknown_members(read), set())
            if not read.choices:
                self.assertIsNotNone(read.usage)
                self.assertIs(chunk, chunks[-1])
                continue
            accumulate_delta(message, chunk["choices"][0]["delta"])
            reasons.append(read.choices[0].finish_reason)
        self.assertEqual(message["role"], "assistant")
        self.assertEqual([reason for reason in reasons[:-1] if reason], [])
        self.assertEqual(reasons[-1] is not None, is_done)
        for call in message.get("tool_calls", []):
            self.assertTrue(call["id"] and call["function"]["name"])
            if reasons[-1] == "tool_calls":
                self.assertIsInstance(json.loads(call["function"]["arguments"]), dict)
        for block in message.get("thinking_blocks", []):
            self.assertIn(block["type"], ("thinking", "redacted_thinking"))
            self.assertIn("thinking" if block["type"] == "thinking" else "data", block)

    def test_embeddings_are_read(self):
        count = 0
        for name, answer in cases("embeddings", "client"):
            with self.subTest(name):
                # The SDK decodes base64 before it validates.
                for item in answer["data"]:
                    if isinstance(item["embedding"], str):
                        item["embedding"] = [0.0]
                CreateEmbeddingResponse.model_validate(answer)
                count += 1
        self.assertGreater(count, 0)


if __name__ == "__main__":
    unittest.main()
