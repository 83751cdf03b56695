"""OpenAI's Python SDK as its users write it, on models that know only Converse."""

import json
from typing import Literal

import job
import openai
import pydantic

JOB = job.read()
CLIENT = openai.OpenAI(base_url=JOB["base_url"], api_key=JOB["api_key"], max_retries=0)

NAMES = ["weather", "clock"]
TOOLS = [{"type": "function", "function": {"name": name, "parameters": job.CITY}} for name in NAMES]
FUNCTIONS = [{"type": "function", "name": name, "parameters": job.CITY} for name in NAMES]


# GPT itself takes no functions in Chat Completions while it reasons.
UNREASONED = {JOB["models"]["gpt"]: {"reasoning_effort": "none"}}


class Report(pydantic.BaseModel):
    """What a client wants to read."""

    city: str
    sky: Literal["clear", "cloudy"]
    degrees: int


def answered(calls):
    """The results of parallel calls, after a look at their arguments."""
    assert [call.function.name for call in calls] == NAMES, calls
    assert len({call.id for call in calls}) == 2
    for call in calls:
        assert isinstance(json.loads(call.function.arguments)["city"], str)
        yield {"role": "tool", "tool_call_id": call.id, "content": f"{call.function.name}: fine"}


def tool_loop(model, **more):
    messages = [{"role": "system", "content": "Be brief."}]
    for turn in range(3):
        messages.append({"role": "user", "content": f"Turn {turn} sim:tool_calls=2"})
        asked = dict(model=model, messages=messages, tools=TOOLS, **UNREASONED.get(model, more))
        choice = CLIENT.chat.completions.create(**asked).choices[0]
        assert choice.finish_reason == "tool_calls", choice
        messages.append(choice.message)
        messages.extend(answered(choice.message.tool_calls))
        last = CLIENT.chat.completions.create(**asked)
        assert last.choices[0].finish_reason == "stop", last
        assert last.choices[0].message.content and last.usage.prompt_tokens > 0
        messages.append(last.choices[0].message)
    return messages


def streamed_tool_loop(model):
    messages = []
    for turn in range(3):
        messages.append({"role": "user", "content": f"Turn {turn} sim:tool_calls=2"})
        asked = dict(
            model=model,
            messages=messages,
            tools=TOOLS,
            stream_options={"include_usage": True},
            **UNREASONED.get(model, {}),
        )
        with CLIENT.chat.completions.stream(**asked) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        assert "tool_calls.function.arguments.done" in kinds, kinds
        assert final.usage.completion_tokens > 0
        messages.append(final.choices[0].message.to_dict())
        messages.extend(answered(final.choices[0].message.tool_calls))
        with CLIENT.chat.completions.stream(**asked) as stream:
            text = "".join(event.delta for event in stream if event.type == "content.delta")
            final = stream.get_final_completion()
        assert text and final.choices[0].message.content == text, final
        messages.append({"role": "assistant", "content": text})


def thinking_loop(model):
    """The thoughts go back as they came: a thought that is changed is refused upstream."""
    messages = tool_loop(model, reasoning_effort="high")
    thoughts = [it.to_dict() for it in messages if not isinstance(it, dict)]
    blocks = [block for it in thoughts for block in it.get("thinking_blocks", [])]
    assert len(blocks) >= 3 and all(block["signature"] for block in blocks), messages
    return thoughts


def shown_thinking_loop(model):
    assert thinking_loop(model)[0]["reasoning_content"]


def image(model):
    image_url = {"url": f"data:image/png;base64,{job.DOT}"}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": image_url}]
    messages = [{"role": "user", "content": parts}]
    answer = CLIENT.chat.completions.create(model=model, messages=messages)
    assert "What is it?" in answer.choices[0].message.content


def parsed(model):
    messages = [{"role": "user", "content": "Rome"}]
    asked = dict(model=model, messages=messages, response_format=Report)
    answer = CLIENT.chat.completions.parse(**asked)
    assert isinstance(answer.choices[0].message.parsed, Report), answer
    assert answer.choices[0].finish_reason == "stop" and not answer.choices[0].message.tool_calls
    with CLIENT.chat.completions.stream(**asked) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Report), final


def response_loop(model, **more):
    """The client keeps the state: it sends back each item that it got."""
    asked = dict(model=model, tools=FUNCTIONS, store=False, instructions="Be brief.")
    asked |= {"include": ["reasoning.encrypted_content"]} | more
    items, thoughts = [], []
    for turn in range(3):
        items.append({"role": "user", "content": f"Turn {turn} sim:tool_calls=2"})
        answer = CLIENT.responses.create(input=items, **asked)
        items += answer.output
        calls = [it for it in answer.output if it.type == "function_call"]
        thoughts += [it for it in answer.output if it.type == "reasoning"]
        assert [call.name for call in calls] == NAMES, answer
        for call in calls:
            assert json.loads(call.arguments)["city"]
            output = {"type": "function_call_output", "call_id": call.call_id, "output": "fine"}
            items.append(output)
        with CLIENT.responses.stream(input=items, **asked) as stream:
            events = list(stream)
            final = stream.get_final_response()
        assert [it.sequence_number for it in events] == list(range(len(events)))
        assert (final.status, bool(final.output_text)) == ("completed", True), final
        items += final.output
    return thoughts


def response_thinking_loop(model):
    thoughts = response_loop(model, reasoning={"effort": "high", "summary": "auto"})
    assert len(thoughts) == 3 and all(it.encrypted_content for it in thoughts), thoughts


def kept_response_loop(model):
    """The server keeps the state: each request names the response before it."""
    asked = dict(model=model, tools=FUNCTIONS)
    first = CLIENT.responses.create(input="One sim:tool_calls=2", **asked)
    assert first.store is True and first.previous_response_id is None, first
    calls = [it for it in first.output if it.type == "function_call"]
    assert [call.name for call in calls] == NAMES, first
    outputs = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "fine"}
        for call in calls
    ]
    with CLIENT.responses.stream(input=outputs, previous_response_id=first.id, **asked) as stream:
        for _ in stream:
            pass
        second = stream.get_final_response()
    assert (second.previous_response_id, second.store) == (first.id, True), second
    third = CLIENT.responses.create(input="Three", previous_response_id=second.id, **asked)
    assert third.output_text and third.previous_response_id == second.id, third

    assert CLIENT.responses.retrieve(third.id) == third
    items = list(CLIENT.responses.input_items.list(third.id, limit=2, order="asc"))
    kinds = [it.type for it in items if it.type != "reasoning"]
    wanted = ["message", *["function_call"] * 2, *["function_call_output"] * 2]
    assert kinds == [*wanted, "message", "message"], kinds
    assert len({it.id for it in items}) == len(items), items
    assert items[0].content[0].text.startswith("One"), items[0]
    try:
        CLIENT.responses.cancel(third.id)
        raise AssertionError("it is complete")
    except openai.BadRequestError as error:
        assert error.type == "invalid_request_error", error
    CLIENT.responses.delete(third.id)
    for gone in (
        lambda: CLIENT.responses.retrieve(third.id),
        lambda: CLIENT.responses.create(input="x", previous_response_id=third.id, **asked),
    ):
        try:
            gone()
            raise AssertionError("it is deleted")
        except openai.NotFoundError as error:
            assert third.id in str(error), error


def response_parsed(model):
    asked = dict(model=model, input="Rome", text_format=Report, store=False)
    assert isinstance(CLIENT.responses.parse(**asked).output_parsed, Report)
    with CLIENT.responses.stream(**asked) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, Report)


def response_image(model):
    image_url = f"data:image/png;base64,{job.DOT}"
    parts = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": image_url, "detail": "auto"},
    ]
    answer = CLIENT.responses.create(model=model, input=[{"role": "user", "content": parts}])
    assert "What is it?" in answer.output_text


def errors(model):
    messages = [{"role": "user", "content": "Hello"}]
    for refused, param in [({"logprobs": True}, "logprobs"), ({"n": 2}, "n")]:
        try:
            CLIENT.chat.completions.create(model=model, messages=messages, **refused)
            raise AssertionError(f"{param} was not refused")
        except openai.BadRequestError as error:
            assert error.param == param and error.type == "invalid_request_error", error
    try:
        CLIENT.responses.create(model=model, input="x", previous_response_id="resp_0")
        raise AssertionError("there is no such response")
    except (openai.BadRequestError, openai.NotFoundError) as error:
        assert error.param == "previous_response_id", error
    for stream in (False, True):
        try:
            throttled = JOB["models"]["throttled"]
            CLIENT.chat.completions.create(model=throttled, messages=messages, stream=stream)
            raise AssertionError("it is throttled")
        except openai.RateLimitError as error:
            assert error.status_code == 429
    try:
        broken = CLIENT.chat.completions.create(
            model=JOB["models"]["breaking"],
            messages=[{"role": "user", "content": "one two three four five six seven"}],
            stream=True,
        )
        assert list(broken) is None, "a broken stream has no ordinary end"
    except openai.APIError as error:
        assert str(error), error


job.run(
    [
        (tool_loop, "claude nova nova2 gpt oss"),
        (streamed_tool_loop, "claude nova nova2 gpt oss"),
        (thinking_loop, "claude claude4"),
        (shown_thinking_loop, "claude4"),
        (image, "claude nova nova2 gpt"),
        (parsed, "claude nova nova2 gpt"),
        (response_loop, "claude nova nova2 gpt"),
        (response_thinking_loop, "claude claude4 gpt"),
        *[(kept_response_loop, families) for families in JOB.get("kept", [])],
        (response_parsed, "claude nova gpt"),
        (response_image, "claude nova gpt"),
        (errors, "claude nova"),
    ],
    JOB["models"],
)
