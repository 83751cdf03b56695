"""Makes calls with boto3: a job as JSON on stdin, one JSON line per answer on stdout.

The job and the answers are described in tests/gateway/support/clients/mod.rs. The SDK's own
retries are off, so that it is the gateway that is tested.
"""

import concurrent.futures
import json
import os
import sys

import boto3
import botocore
import botocore.config
import botocore.exceptions

STREAMS = {"InvokeModelWithResponseStream": "body", "ConverseStream": "stream"}
CONTROL_PLANE = {
    "ListInferenceProfiles",
    "GetInferenceProfile",
    "ListFoundationModels",
    "GetFoundationModel",
    "ListGuardrails",
}


def main():
    job = json.load(sys.stdin)
    services = [service_of(call) for call in job["calls"]]
    clients = {service: client_of(service, job) for service in set(services)}
    with concurrent.futures.ThreadPoolExecutor(job["concurrency"]) as pool:
        for answer in pool.map(run, [clients[it] for it in services], job["calls"]):
            print(json.dumps(answer, default=str), flush=True)


def service_of(call):
    return "bedrock" if call["operation"] in CONTROL_PLANE else "bedrock-runtime"


def client_of(service, job):
    client = boto3.client(
        service,
        endpoint_url=job["endpoint"],
        region_name=job["region"],
        verify=job["ca"],
        **keys(job),
        config=botocore.config.Config(
            # A bearer token needs TLS by the SDK's own means, so it comes as a header of a request
            # that is not signed.
            signature_version=botocore.UNSIGNED if job.get("bearer") else None,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=max(job["concurrency"], 10),
            connect_timeout=10,
            read_timeout=job["read_timeout_s"],
            client_cert=tuple(job["client_cert"]) if job["client_cert"] else None,
        ),
    )
    headers = dict(job["headers"])
    if job.get("bearer"):
        headers["Authorization"] = "Bearer " + job["bearer"]
    client.meta.events.register("before-sign." + service, adds(headers))
    return client


def keys(job):
    # Keys that are named would win over the API key of the environment.
    if "AWS_BEARER_TOKEN_BEDROCK" in os.environ:
        return {}
    return {
        "aws_access_key_id": job["access_key_id"],
        "aws_secret_access_key": job["secret_access_key"],
        "aws_session_token": job.get("session_token"),
    }


def adds(headers):
    def add(request, **_):
        for name, value in headers.items():
            request.headers[name] = value

    return add


def run(client, call):
    answer = {"status": None, "headers": {}, "body": None, "events": [], "error": None}
    parameters = parameters_of(call)
    method = getattr(client, method_name(call["operation"]))
    streaming = STREAMS.get(call["operation"])
    in_stream = False
    try:
        output = method(**parameters)
        metadata = output.pop("ResponseMetadata")
        answer["status"] = metadata["HTTPStatusCode"]
        answer["headers"] = metadata["HTTPHeaders"]
        if streaming:
            in_stream = True
            read_events(output[streaming], call, answer)
        elif call["operation"] == "InvokeModel":
            answer["body"] = output["body"].read().decode()
        else:
            answer["body"] = json.dumps(output, default=str)
    except botocore.exceptions.ClientError as error:
        metadata = error.response.get("ResponseMetadata", {})
        if not in_stream:
            answer["status"] = metadata.get("HTTPStatusCode")
            answer["headers"] = metadata.get("HTTPHeaders", {})
        answer["error"] = {
            "name": error.response["Error"]["Code"],
            "class": type(error).__name__,
            "message": error.response["Error"].get("Message", ""),
            "in_stream": in_stream,
        }
    except Exception as error:  # what the SDK raises for a broken connection differs by layer
        answer["error"] = {
            "name": type(error).__name__,
            "message": str(error),
            "in_stream": in_stream,
        }
    return answer


def read_events(stream, call, answer):
    for event in stream:
        if "chunk" in event:
            answer["events"].append(json.loads(event["chunk"]["bytes"]))
        else:
            answer["events"].append(event)
        if call["abandon_after"] == len(answer["events"]):
            stream.close()
            return


def parameters_of(call):
    operation = call["operation"]
    if operation in ("InvokeModel", "InvokeModelWithResponseStream"):
        return {"modelId": call["model"], "body": call["body"].encode()} | call["options"]
    if operation in ("Converse", "ConverseStream"):
        return {"modelId": call["model"]} | json.loads(call["body"])
    if operation == "CountTokens":
        return {"modelId": call["model"], "input": {"converse": json.loads(call["body"])}}
    return json.loads(call["body"])


def method_name(operation):
    return "".join("_" + c.lower() if c.isupper() else c for c in operation).lstrip("_")


if __name__ == "__main__":
    main()
