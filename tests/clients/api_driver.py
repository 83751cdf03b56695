"""Makes calls with the SDKs of OpenAI and Anthropic: a job as JSON on stdin, one JSON line per
answer on stdout.

The job and the answers are described in tests/gateway/support/api_clients.rs. The SDKs' own retries
are off, so that it is the gateway that is tested.
"""

import importlib
import json
import sys

CLIENTS = {
    "openai": ("openai", "OpenAI"),
    "bedrock_openai": ("openai", "BedrockOpenAI"),
    "anthropic": ("anthropic", "Anthropic"),
    "anthropic_bedrock_mantle": ("anthropic", "AnthropicBedrockMantle"),
    "anthropic_bedrock": ("anthropic", "AnthropicBedrock"),
}


def main():
    job = json.load(sys.stdin)
    sdk, name = CLIENTS[job["sdk"]]
    sdk = importlib.import_module(sdk)
    client = getattr(sdk, name)(**options(job))
    answers = []
    for call in job["calls"]:
        answers.append(run(sdk, client, call, answers))
        print(json.dumps(answers[-1], default=str), flush=True)


def options(job):
    given = {
        "base_url": job["base_url"],
        "default_headers": job["headers"],
        "max_retries": 0,
        "timeout": job["timeout_s"],
    }
    if "bedrock" in job["sdk"]:
        given["aws_region"] = job["region"]
    if job["api_key"] is not None:
        return given | {"api_key": job["api_key"]}
    names = {
        "bedrock_openai": ("aws_access_key_id", "aws_secret_access_key"),
        "anthropic_bedrock_mantle": ("aws_access_key", "aws_secret_key"),
        "anthropic_bedrock": ("aws_access_key", "aws_secret_key"),
    }[job["sdk"]]
    return given | dict(zip(names, [job["access_key_id"], job["secret_access_key"]]))


def filled(value, answers):
    """The value with texts such as `$0.id` replaced by that member of the first answer."""
    if isinstance(value, dict):
        return {name: filled(member, answers) for name, member in value.items()}
    if isinstance(value, list):
        return [filled(member, answers) for member in value]
    if isinstance(value, str) and value.startswith("$"):
        index, *path = value[1:].split(".")
        found = answers[int(index)]["body"]
        for step in path:
            found = found[int(step) if isinstance(found, list) else step]
        return found
    return value


def run(sdk, client, call, answers):
    answer = {"status": None, "headers": {}, "body": None, "events": [], "error": None}
    *path, name = call["method"].split(".")
    resource = client
    for step in path:
        resource = getattr(resource, step)
    in_stream = False
    try:
        call = filled(call, answers)
        if name == "stream":
            # A helper of the SDK's, which puts the events together.
            with resource.stream(*call["arguments"], **call["parameters"]) as stream:
                in_stream = True
                for event in stream:
                    answer["events"].append(plain(event))
                answer["body"] = plain(final(stream))
            return answer
        method = getattr(resource.with_raw_response, name)
        raw = method(*call["arguments"], **call["parameters"])
        answer["status"] = raw.status_code
        answer["headers"] = dict(raw.headers)
        output = raw.parse()
        if call["parameters"].get("stream"):
            in_stream = True
            for event in output:
                answer["events"].append(plain(event))
                if call["abandon_after"] == len(answer["events"]):
                    output.close()
                    break
        else:
            answer["body"] = plain(output)
    except sdk.APIError as error:
        answer["error"] = raised(error, in_stream)
        response = getattr(error, "response", None)
        if response is not None and not in_stream:
            answer["status"] = response.status_code
            answer["headers"] = dict(response.headers)
    except Exception as error:  # what an SDK raises for a broken connection differs by layer
        answer["error"] = raised(error, in_stream)
    return answer


def final(stream):
    for name in ("get_final_message", "get_final_completion", "get_final_response"):
        if hasattr(stream, name):
            return getattr(stream, name)()
    raise AttributeError("the stream has no final state")


def plain(value):
    if hasattr(value, "to_dict"):
        return value.to_dict(mode="json")
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def raised(error, in_stream):
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "type": getattr(error, "type", None),
        "code": getattr(error, "code", None),
        "param": getattr(error, "param", None),
        "body": getattr(error, "body", None),
        "request_id": getattr(error, "request_id", None),
        "message": str(error),
        "in_stream": in_stream,
    }


if __name__ == "__main__":
    main()
