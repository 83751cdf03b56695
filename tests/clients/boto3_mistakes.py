"""Makes boto3 fail in each way that a client can get its keys wrong.

A job as JSON on stdin (`host`, `port`, `region`, `access_key_id`, `secret_access_key`, `models`), one JSON object on
stdout: what boto3 raised by name of the mistake.
"""

import datetime
import json
import sys
import unittest.mock

import boto3
import botocore.auth
import botocore.config
import botocore.exceptions


def main():
    print(json.dumps(raised(json.load(sys.stdin))))


def raised(job):
    """What boto3 raises for each mistake: class, name on the wire, status and message."""
    late = datetime.timedelta(minutes=-20)
    return {
        "none": call(job),
        "unknown_key": call(job, access_key_id="SLUICENOBODYSKEY"),
        "wrong_secret": call(job, secret_access_key="not-the-secret-0123456789"),
        "skewed_clock": call(job, clock=late),
        "fast_clock": call(job, clock=-late),
        "unsigned": call(job, signature_version=botocore.UNSIGNED),
    }


def call(job, clock=None, signature_version=None, **keys):
    keys = job | keys
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=f"http://{job['host']}:{job['port']}",
        region_name=job["region"],
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
        config=botocore.config.Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            signature_version=signature_version,
        ),
    )
    now = botocore.auth.get_current_datetime
    shifted = unittest.mock.patch(
        "botocore.auth.get_current_datetime",
        lambda *args, **named: now(*args, **named) + (clock or datetime.timedelta()),
    )
    try:
        with shifted:
            client.converse(
                modelId=job["models"][0], messages=[{"role": "user", "content": [{"text": "hi"}]}]
            )
    except botocore.exceptions.ClientError as error:
        return {
            "class": type(error).__name__,
            "code": error.response["Error"]["Code"],
            "message": error.response["Error"]["Message"],
            "status": error.response["ResponseMetadata"]["HTTPStatusCode"],
        }
    return None


if __name__ == "__main__":
    main()
