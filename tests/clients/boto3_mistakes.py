"""Signs many random requests with botocore and sends them over one connection to a gateway that
verifies signatures; then makes boto3 fail in each way that a client can get its keys wrong.

A job as JSON on stdin (`host`, `port`, `region`, `access_key_id`, `secret_access_key`, `models`,
`count`, `seed`), one JSON object on stdout: `sent`, a list of `{changed, status, error}`, and
`raised`, what boto3 raised by name of the mistake.
"""

import datetime
import http.client
import json
import random
import string
import sys
import unittest.mock
import urllib.parse

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions

PRINTED = string.ascii_letters + string.digits
NAMES = ["accept", "content-type", "x-amzn-bedrock-trace", "x-amzn-bedrock-request-metadata", "a-b"]
CHANGES = [
    "method",
    "path",
    "query",
    "header",
    "host",
    "token",
    "body",
    "date",
    "signature",
    "scope",
    "key",
]


def main():
    job = json.load(sys.stdin)
    chance = random.Random(job["seed"])
    connection = http.client.HTTPConnection(job["host"], job["port"], timeout=60)
    connection.connect()
    socket = connection.sock
    sent = []
    for number in range(job["count"]):
        request = signed(job, chance)
        sent.append({"changed": None} | send(connection, request))
        change = CHANGES[number % len(CHANGES)]
        changed = spoilt(request, change, chance)
        if changed:
            sent.append({"changed": change} | send(connection, changed))
    assert connection.sock is socket, "the connection was kept"
    print(json.dumps({"sent": sent, "raised": raised(job)}))


def signed(job, chance):
    """A request as (method, target, headers, body)."""
    model = chance.choice(job["models"] + ["custom-" + word(chance, 8)])
    operation = chance.choice(["converse", "invoke", "converse-stream", "count-tokens"])
    safe = chance.choice(["", ":", ":/"])
    path = "/model/" + urllib.parse.quote(model, safe=safe) + "/" + operation
    values = [word(chance, 5), "a b", "ü€😀", "a:b/c", "x=y&z", "+", ""]
    query = [(word(chance, 3), chance.choice(values)) for _ in range(chance.randrange(4))]
    url = f"http://{job['host']}:{job['port']}{path}"
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": [{"text": word(chance, 40) + "ü€😀"}]}],
            "inferenceConfig": {"maxTokens": chance.randrange(1, 50)},
        },
        ensure_ascii=chance.random() < 0.5,
    ).encode()
    if query:
        url += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote, safe="-_.~")
    request = botocore.awsrequest.AWSRequest(method="POST", url=url, data=body)
    for _ in range(chance.randrange(6)):
        # A name that comes again is a header that is there twice.
        blanks = " " * chance.randrange(1, 4)
        request.headers[chance.choice(NAMES)] = word(chance, 6) + blanks + word(chance, 3)
    request.headers["Host"] = f"{job['host']}:{job['port']}"
    credentials = botocore.credentials.Credentials(
        job["access_key_id"], job["secret_access_key"], chance.choice([None, "left-over-token"])
    )
    region = chance.choice([job["region"], "eu-west-1"])
    botocore.auth.SigV4Auth(credentials, "bedrock", region).add_auth(request)
    parts = urllib.parse.urlsplit(url)
    target = parts.path + ("?" + parts.query if parts.query else "")
    return ["POST", target, list(request.headers.items()), body]


def spoilt(request, what, chance):
    method, target, headers, body = request
    path, _, query = target.partition("?")
    if what == "method":
        return ["PUT", target, headers, body]
    if what == "path":
        start = len("/model/")
        name = path[start : path.index("/", start)]
        return [method, path.replace(name, changed(name, chance), 1) + target[len(path) :], headers, body]
    if what == "query":
        return [method, path + "?" + changed(query, chance), headers, body] if query else None
    if what == "body":
        at = chance.randrange(len(body))
        other = bytes([body[at] ^ chance.randrange(1, 256)])
        return [method, target, headers, body[:at] + other + body[at + 1 :]]
    if what == "header":
        own = [n for n, (name, _) in enumerate(headers) if name in NAMES]
        if not own:
            return None
        at = chance.choice(own)
        name, value = headers[at]
        return [method, target, headers[:at] + [(name, changed(value, chance))] + headers[at + 1 :], body]
    named = {"date": "X-Amz-Date", "host": "Host", "token": "X-Amz-Security-Token"}.get(what)
    if named:
        if named not in dict(headers):
            return None
        return [method, target, rewritten(headers, named, lambda it: changed(it, chance)), body]

    def change(authorization):
        start, credential, rest = authorization.partition("Credential=")
        scope, headers_, signature = rest.partition(", SignedHeaders=")
        key, slash, scope = scope.partition("/")
        if what == "key":
            key = changed(key, chance)
        elif what == "scope":
            scope = changed(scope, chance)
        else:
            before, sign, digits = signature.partition("Signature=")
            signature = before + sign + changed(digits, chance)
        return start + credential + key + slash + scope + headers_ + signature

    return [method, target, rewritten(headers, "Authorization", change), body]


def rewritten(headers, wanted, change):
    return [(name, change(value) if name == wanted else value) for name, value in headers]


def changed(text, chance):
    """The text with one letter or digit changed, not to its other case, which may say the same."""
    places = [at for at, letter in enumerate(text) if letter in PRINTED]
    at = chance.choice(places)
    others = [it for it in PRINTED if it.lower() != text[at].lower()]
    return text[:at] + chance.choice(others) + text[at + 1 :]


def word(chance, length):
    return "".join(chance.choice(PRINTED) for _ in range(length))


def send(connection, request):
    method, target, headers, body = request
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    response = connection.getresponse()
    response.read()
    return {"status": response.status, "error": response.getheader("x-amzn-errortype")}


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
