"""Anthropic's Python SDK as its users write it, on models without Messages."""

from typing import Literal

import anthropic
import job
import pydantic

JOB = job.read()
CLIENT = anthropic.Anthropic(base_url=JOB["base_url"], api_key=JOB["api_key"], max_retries=0)

NAMES = ["weather", "clock"]
TOOLS = [{"name": name, "description": name, "input_schema": job.CITY} for name in NAMES]


class Report(pydantic.BaseModel):
    """What a client wants to read."""

    city: str
    sky: Literal["clear", "cloudy"]
    degrees: int


def results(answer):
    """The results of parallel calls, after a look at their inputs."""
    assert answer.stop_reason == "tool_use", answer
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [call.name for call in calls] == NAMES, answer
    assert all(call.input["city"] for call in calls) and calls[0].id != calls[1].id
    return [
        {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "ok"}]}
        for call in calls
    ]


def tool_loop(model, **more):
    messages, answers = [], []
    for turn in range(3):
        messages.append({"role": "user", "content": f"Turn {turn} sim:tool_calls=2"})
        asked = dict(model=model, max_tokens=4000, messages=messages, tools=TOOLS, **more)
        asked["system"] = [{"type": "text", "text": "Be brief."}]
        first = CLIENT.messages.create(**asked)
        messages.append({"role": "assistant", "content": first.content})
        messages.append({"role": "user", "content": results(first)})
        last = CLIENT.messages.create(**asked)
        assert last.stop_reason == "end_turn" and last.content[-1].text, last
        assert last.usage.input_tokens > 0 and last.usage.output_tokens > 0
        messages.append({"role": "assistant", "content": last.content})
        answers += [first, last]
    return answers


def streamed_tool_loop(model, **more):
    messages = []
    for turn in range(3):
        messages.append({"role": "user", "content": f"Turn {turn} sim:tool_calls=2"})
        asked = dict(model=model, max_tokens=4000, messages=messages, tools=TOOLS, **more)
        with CLIENT.messages.stream(**asked) as stream:
            kinds = {event.type for event in stream}
            first = stream.get_final_message()
        assert {"message_start", "input_json", "message_stop"} <= kinds, kinds
        messages.append({"role": "assistant", "content": first.content})
        messages.append({"role": "user", "content": results(first)})
        with CLIENT.messages.stream(**asked) as stream:
            text = "".join(stream.text_stream)
            last = stream.get_final_message()
        assert text and last.content[-1].text == text, last
        assert last.usage.output_tokens > 0
        messages.append({"role": "assistant", "content": last.content})


def thinking(model):
    """Thoughts go back as they came, whole and from streams."""
    asked = {"type": "enabled", "budget_tokens": 2000}
    answers = tool_loop(model, thinking=asked)
    thoughts = [block for it in answers for block in it.content if block.type == "thinking"]
    assert len(thoughts) >= 3 and all(it.signature for it in thoughts), answers
    streamed_tool_loop(model, thinking=asked)


def thoughts_of_claude(model):
    """A conversation that Claude began with thoughts goes on with another family."""
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Hello."},
    ]
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": "Go on"},
    ]
    answer = CLIENT.messages.create(model=model, max_tokens=100, messages=messages)
    assert "Go on" in answer.content[-1].text


def image(model):
    source = {"type": "base64", "media_type": "image/png", "data": job.DOT}
    parts = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    messages = [{"role": "user", "content": parts}]
    answer = CLIENT.messages.create(model=model, max_tokens=100, messages=messages)
    assert "What is it?" in answer.content[-1].text


def parsed(model):
    messages = [{"role": "user", "content": "Rome"}]
    asked = dict(model=model, max_tokens=1000, messages=messages, output_format=Report)
    answer = CLIENT.messages.parse(**asked)
    assert isinstance(answer.parsed_output, Report) and answer.stop_reason == "end_turn", answer
    with CLIENT.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert isinstance(final.parsed_output, Report), final


def cached(model):
    """Marks of Anthropic's cache do no harm to a model, with or without a cache."""
    mark = {"cache_control": {"type": "ephemeral"}}
    answer = CLIENT.messages.create(
        model=model,
        max_tokens=100,
        system=[{"type": "text", "text": "Be brief."} | mark],
        tools=[TOOLS[0], TOOLS[1] | mark],
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hello"} | mark]}],
    )
    assert "Hello" in answer.content[-1].text


def errors(model):
    asked = dict(max_tokens=100, messages=[{"role": "user", "content": "one two three four five"}])
    try:
        CLIENT.messages.create(model=model, **asked | {"max_tokens": 0})
        raise AssertionError("max_tokens was not refused")
    except anthropic.BadRequestError as error:
        assert error.body["error"]["type"] == "invalid_request_error", error
        assert "max_tokens" in str(error), error
    for stream in (False, True):
        try:
            CLIENT.messages.create(model=JOB["models"]["throttled"], stream=stream, **asked)
            raise AssertionError("it is throttled")
        except anthropic.RateLimitError as error:
            assert error.body["error"]["type"] == "rate_limit_error", error
    try:
        with CLIENT.messages.stream(model=JOB["models"]["breaking"], **asked) as broken:
            broken.get_final_message()
        raise AssertionError("a broken stream has no ordinary end")
    except anthropic.APIError as error:
        assert str(error), error


job.run(
    [
        (tool_loop, "nova nova2 gpt oss"),
        (streamed_tool_loop, "nova nova2 gpt oss"),
        (thinking, "invoked"),
        (thoughts_of_claude, "nova nova2 gpt"),
        (image, "nova nova2 gpt"),
        (parsed, "nova gpt"),
        (cached, "nova gpt"),
        (errors, "nova"),
    ],
    JOB["models"],
)
