"""langchain-openai, langchain-anthropic and LiteLLM as their users write them, on models without
the API that each of them speaks."""

import json
import os

import job

JOB = job.read()
BASE, KEY = JOB["base_url"], JOB["api_key"]
# LiteLLM would ask the network for its price map otherwise.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # noqa: E402
from langchain_anthropic import ChatAnthropic  # noqa: E402
from langchain_core.messages import HumanMessage, ToolMessage  # noqa: E402
from langchain_core.tools import tool  # noqa: E402
from langchain_openai import ChatOpenAI  # noqa: E402
from pydantic import BaseModel  # noqa: E402

# What it would tell people goes to stdout, where the report is.
litellm.suppress_debug_info = True


class Report(BaseModel):
    """A report of the weather."""

    city: str
    degrees: int


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"clear in {city}"


@tool
def clock(city: str) -> str:
    """The time of a city."""
    return f"noon in {city}"


TOOLS = {"weather": weather, "clock": clock}
NAMES = list(TOOLS)


def chats(model):
    assert "Hello" in model.invoke("Hello").text
    whole = None
    for chunk in model.stream("Hello there"):
        whole = chunk if whole is None else whole + chunk
    assert "Hello there" in whole.text, whole
    assert whole.usage_metadata["output_tokens"] > 0, whole


def calls_tools(model):
    """Three turns, each with two calls, whole and streamed by turns."""
    bound = model.bind_tools(list(TOOLS.values()))
    messages = []
    for turn in range(3):
        messages.append(HumanMessage(f"Turn {turn} sim:tool_calls=2"))
        if turn == 1:
            chunks = list(bound.stream(messages))
            answer = sum(chunks[1:], chunks[0])
        else:
            answer = bound.invoke(messages)
        assert [call["name"] for call in answer.tool_calls] == NAMES, answer
        messages.append(answer)
        for call in answer.tool_calls:
            result = TOOLS[call["name"]].invoke(call["args"])
            messages.append(ToolMessage(result, tool_call_id=call["id"]))
        messages.append(bound.invoke(messages))
        assert messages[-1].text and not messages[-1].tool_calls, messages[-1]


def structures(model, methods):
    for method in methods:
        structured = model.with_structured_output(Report, method=method)
        assert isinstance(structured.invoke("Rome"), Report), method


def openai_model(model, **more):
    return ChatOpenAI(model=model, base_url=f"{BASE}/v1", api_key=KEY, max_retries=0, **more)


def unreasoned(model):
    """GPT itself takes no functions in Chat Completions while it reasons."""
    return {"reasoning_effort": "none"} if model == JOB["models"]["gpt"] else {}


def langchain_openai(name):
    model = openai_model(name, stream_usage=True, **unreasoned(name))
    chats(model)
    calls_tools(model)
    structures(model, ["json_schema"])
    # A Claude that always thinks can't be made to call a function.
    if name != JOB["models"]["claude"]:
        structures(model, ["function_calling"])


def langchain_openai_responses(name):
    model = openai_model(name, use_responses_api=True, store=False)
    chats(model)
    calls_tools(model)
    structures(model, ["json_schema"])


def langchain_anthropic(name):
    model = ChatAnthropic(model=name, base_url=BASE, api_key=KEY, max_retries=0, max_tokens=2000)
    chats(model)
    calls_tools(model)
    structures(model, ["function_calling", "json_schema"])


def litellm_tool_loop(ask, name, **more):
    functions = [{"name": it, "parameters": job.CITY} for it in NAMES]
    tools = [{"type": "function", "function": function} for function in functions]
    messages = []
    for turn in range(3):
        messages.append({"role": "user", "content": f"Turn {turn} sim:tool_calls=2"})
        answer = ask(model=name, messages=messages, tools=tools, **more)
        calls = answer.choices[0].message.tool_calls
        assert [call.function.name for call in calls] == NAMES, answer
        messages.append(answer.choices[0].message)
        for call in calls:
            assert json.loads(call.function.arguments)["city"]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "fine"})
        answer = ask(model=name, messages=messages, tools=tools, **more)
        assert answer.choices[0].message.content, answer
        messages.append(answer.choices[0].message)


def litellm_stream(name, **more):
    messages = [{"role": "user", "content": "Hello there"}]
    chunks = list(litellm.completion(model=name, messages=messages, stream=True, **more))
    whole = litellm.stream_chunk_builder(chunks, messages=messages)
    assert "Hello there" in whole.choices[0].message.content, whole


def litellm_openai(name):
    more = {"api_base": f"{BASE}/v1", "api_key": KEY, "num_retries": 0}
    litellm_tool_loop(litellm.completion, f"openai/{name}", **more)
    litellm_stream(f"openai/{name}", **more)
    messages = [{"role": "user", "content": "Rome"}]
    answer = litellm.completion(
        model=f"openai/{name}", messages=messages, response_format=Report, **more
    )
    Report.model_validate_json(answer.choices[0].message.content)


def litellm_anthropic(name):
    more = {"api_base": BASE, "api_key": KEY, "num_retries": 0, "max_tokens": 2000}
    litellm_tool_loop(litellm.completion, f"anthropic/{name}", **more)
    litellm_stream(f"anthropic/{name}", **more)


def litellm_responses(name):
    more = {"api_base": f"{BASE}/v1", "api_key": KEY, "store": False}
    answer = litellm.responses(model=f"openai/{name}", input="Hello", **more)
    assert "Hello" in answer.output[-1].content[0].text, answer


job.run(
    [
        (langchain_openai, "claude claude4 nova gpt"),
        (langchain_openai_responses, "claude nova gpt"),
        (langchain_anthropic, "nova gpt"),
        (litellm_openai, "claude claude4 nova"),
        (litellm_anthropic, "nova gpt"),
        (litellm_responses, "claude nova"),
    ],
    JOB["models"],
)
