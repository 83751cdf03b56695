"""Prints what the SDKs of this environment know of requests, as JSON: for each section of
docs/translation-fields.md the members at the top, and the types and kinds of what is within them."""

import json
import typing

import botocore.session
from anthropic.types.beta import message_create_params as beta_messages
from anthropic.types import message_create_params as messages
from openai.types.chat import completion_create_params as chat
from openai.types.responses import response_create_params as responses
from openai.types.responses import response_input_content_param as input_content
from typing_extensions import get_type_hints, is_typeddict


def members(params):
    """The annotations of the members that any of a union's dictionaries has."""
    found = {}
    for one in typing.get_args(params):
        found.update(get_type_hints(one))
    return found


def texts(annotation):
    """The texts that a literal, or one within unions, may be."""
    if typing.get_origin(annotation) is typing.Literal:
        return {it for it in typing.get_args(annotation) if isinstance(it, str)}
    return set().union(*(texts(it) for it in typing.get_args(annotation) if is_type(it)))


def is_type(argument):
    return not isinstance(argument, (str, int, list, type(None)))


def kinds(annotation, depth):
    """The values of `type` and `role` in dictionaries, so many levels deep."""
    if depth == 0:
        return set()
    if is_typeddict(annotation):
        found = set()
        for name, hint in get_type_hints(annotation).items():
            if name in ("type", "role"):
                found |= texts(hint)
            found |= kinds(hint, depth - 1)
        return found
    return set().union(*(kinds(it, depth) for it in typing.get_args(annotation) if is_type(it)))


def section(top, depths, more=()):
    types = set(more)
    for name, depth in depths.items():
        types |= kinds(top[name], depth)
    return {"members": sorted(top), "types": sorted(types)}


def converse():
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    body = model.operation_model("Converse").input_shape
    in_path = {"modelId"}
    blocks = set(model.shape_for("ContentBlock").members)
    tools = set(model.shape_for("Tool").members) | set(model.shape_for("ToolChoice").members)
    return {"members": sorted(set(body.members) - in_path), "types": sorted(blocks | tools)}


of_chat = members(chat.CompletionCreateParams)
of_responses = members(responses.ResponseCreateParams)
of_messages = {**members(messages.MessageCreateParams), **members(beta_messages.MessageCreateParams)}
parts = kinds(input_content.ResponseInputContentParam, 1)
print(json.dumps({
    "## Chat Completions": section(
        of_chat, {"messages": 2, "tools": 1, "tool_choice": 1, "response_format": 1}),
    "## Responses": section(of_responses, {"input": 1, "tools": 1, "tool_choice": 1, "text": 2}, parts),
    "## Messages": section(
        of_messages, {"messages": 2, "system": 1, "thinking": 1, "tools": 1, "tool_choice": 1}),
    "## Converse": converse(),
}))
