"""Reads an account with boto3, as `sluice check --account` does: a job as JSON on stdin, what the calls
returned as JSON on stdout. Of a call that fails, the name of the error is all.
"""

import json
import sys

import boto3
import botocore.config
import botocore.exceptions


def main():
    job = json.load(sys.stdin)
    try:
        read = read_account(job)
    except botocore.exceptions.ClientError as error:
        read = {"error": error.response["Error"]["Code"]}
    print(json.dumps(read, default=str))


def read_account(job):
    bedrock, quotas = client_of("bedrock", job), client_of("service-quotas", job)
    model = job["availability_of"]
    return {
        "models": bedrock.list_foundation_models()["modelSummaries"],
        "profiles": pages(bedrock, "list_inference_profiles", "inferenceProfileSummaries"),
        "profile": bedrock.get_inference_profile(inferenceProfileIdentifier=job["profile"]),
        "availability": bedrock.get_foundation_model_availability(modelId=model),
        "quotas": pages(quotas, "list_service_quotas", "Quotas", ServiceCode="bedrock"),
        "default_quotas": pages(
            quotas, "list_aws_default_service_quotas", "Quotas", ServiceCode="bedrock"
        ),
    }


def pages(client, operation, key, **parameters):
    paginator = client.get_paginator(operation)
    return [entry for page in paginator.paginate(**parameters) for entry in page[key]]


def client_of(service, job):
    return boto3.client(
        service,
        endpoint_url=job["endpoint"],
        region_name=job["region"],
        aws_access_key_id=job["access_key_id"],
        aws_secret_access_key=job["secret_access_key"],
        config=botocore.config.Config(retries={"mode": "standard", "total_max_attempts": 1}),
    )


if __name__ == "__main__":
    main()
