"""Sends a gateway random requests that botocore signs, and requests that differ from them in one thing, and
compares what the gateway says of each signature with what botocore itself computes for that very request.

A job as JSON on stdin (`host`, `port`, `access_key_id`, `secret_access_key`, `models`, `seed`, and `count` or
`seconds`), one JSON object on stdout: `taken`, `refused` and `unread`, how many of the requests; `changes`, how many
of each change were taken and refused; `wrong`, at most ten requests of which the gateway said something else than
botocore.

A request is unread if its head is no HTTP, or if the gateway answers it before it knows the hash of its body: no
operation has its path.
"""

import datetime
import hashlib
import http.client
import json
import random
import re
import string
import sys
import time
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.compat
import botocore.credentials

PRINTED = string.ascii_letters + string.digits
SERVICES = ["bedrock", "bedrock-mantle"]
UNSIGNED = "UNSIGNED-PAYLOAD"
DECLARED = "X-Amz-Content-SHA256"
# What AWS refuses for its signature, in the dialects of Bedrock and of OpenAI.
REFUSALS = (401, 403)
CLAIM = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([^/,]+)/([^/,]+)/aws4_request,"
    r"\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]{64})"
)


class Signer(botocore.auth.SigV4Auth):
    """As botocore, but for two things that the gateway's verifier leaves as they are on the wire, since no
    operation has them: doubled slashes and segments of dots."""

    def _normalize_url_path(self, path):
        return urllib.parse.quote(path, safe="/~")


class VerbatimSigner(botocore.auth.SigV4Auth):
    """As botocore's signer for S3: the path is not encoded once more."""

    def _normalize_url_path(self, path):
        return path


def main():
    job = json.load(sys.stdin)
    chance = random.Random(job["seed"])
    gateway = Gateway(job["host"], job["port"])
    said = {"taken": 0, "refused": 0, "unread": 0, "changes": {}, "wrong": []}
    until = time.monotonic() + job.get("seconds", float("inf"))
    number = 0
    while number < job.get("count", float("inf")) and time.monotonic() < until:
        request = signed(job, chance)
        compare(job, gateway, request, "none", said)
        changes = list(CHANGES) if number % 100 == 0 else [chance.choice(list(CHANGES))]
        for change in changes:
            changed = CHANGES[change](request, chance)
            if changed:
                compare(job, gateway, changed, change, said)
        number += 1
    print(json.dumps(said))


def compare(job, gateway, request, change, said):
    wanted = is_right(job, request)
    status, is_read = gateway.answer(request)
    declared = [value for name, value in request[2] if name.lower() == DECLARED.lower()]
    waits_for_body = declared not in ([UNSIGNED], [hashlib.sha256(request[3]).hexdigest()])
    if not is_read or waits_for_body and status in (400, 404, 405):
        outcome = "unread"
    else:
        outcome = "refused" if status in REFUSALS else "taken"
    said[outcome] += 1
    counts = said["changes"].setdefault(change, {"taken": 0, "refused": 0, "unread": 0})
    counts[outcome] += 1
    if outcome != "unread" and (outcome == "taken") != wanted and len(said["wrong"]) < 10:
        method, target, headers, body = request
        shown = {"method": method, "target": target, "headers": headers, "body": body.hex()}
        said["wrong"].append(shown | {"change": change, "wanted": wanted, "status": status})


class Gateway:
    """A connection that is opened anew when the gateway has closed it."""

    def __init__(self, host, port):
        self.connection = http.client.HTTPConnection(host, port, timeout=60)

    def answer(self, request):
        """The status, and whether the request got as far as the gateway's own answers, which have an id."""
        try:
            return self._send(request)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.connection.close()
            return self._send(request)

    def _send(self, request):
        method, target, headers, body = request
        self.connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            self.connection.putheader(name, value.encode())
        self.connection.putheader("content-length", str(len(body)))
        self.connection.endheaders(body)
        response = self.connection.getresponse()
        response.read()
        ids = ("x-amzn-requestid", "x-request-id", "request-id")
        return response.status, any(response.getheader(name) for name in ids)


def is_right(job, request):
    """Whether botocore computes the signature that the request claims."""
    method, target, headers, body = request
    of = lambda wanted: [value for name, value in headers if name.lower() == wanted]
    if len(of("authorization")) != 1:
        return False
    claim = CLAIM.fullmatch(of("authorization")[0])
    if not claim:
        return False
    key, day, region, service, names, signature = claim.groups()
    names = names.split(";")
    dates = of("x-amz-date")
    if key != job["access_key_id"] or service not in SERVICES or not dates:
        return False
    # To HTTP `post` is another method, which botocore would not send.
    if method != method.upper():
        return False
    if not re.fullmatch(r"\d{8}T\d{6}Z", dates[0]) or dates[0][:8] != day:
        return False
    must = ["host", "x-amz-date"] + ["x-amz-security-token"] * bool(of("x-amz-security-token"))
    # A name that is signed, and a header of that name.
    if not set(must) <= set(names) or not all(of(name) for name in names):
        return False
    declared, digest = of(DECLARED.lower()), hashlib.sha256(body).hexdigest()
    if len(declared) > 1 or declared and declared[0] not in (UNSIGNED, digest):
        return False
    path, _, query = target.partition("?")
    url = f"http://{job['host']}:{job['port']}{path}"
    if query := canonical_query(query):
        url += "?" + query
    as_signed = botocore.awsrequest.AWSRequest(method=method, url=url, data=body)
    for name, value in headers:
        if name.lower() in names:
            as_signed.headers[name] = value
    as_signed.context["timestamp"] = dates[0]
    credentials = botocore.credentials.Credentials(key, job["secret_access_key"])
    for signer in (Signer, VerbatimSigner):
        signer = signer(credentials, service, region)
        signer.payload = lambda _: declared[0] if declared else digest
        selected = signer.signed_headers(signer.headers_to_sign(as_signed)).split(";")
        text = signer.string_to_sign(as_signed, signer.canonical_request(as_signed))
        if selected == names and signer.signature(text, as_signed) == signature:
            return True
    return False


def canonical_query(query):
    """The query as botocore would have written it: every spelling of a parameter is the same to AWS."""
    anew = lambda text: urllib.parse.quote(urllib.parse.unquote_to_bytes(text), safe="-_.~")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return "&".join(f"{anew(name)}={anew(value)}" for name, _, value in pairs)


# Requests that are signed.

OPERATIONS = ["converse", "invoke", "converse-stream", "count-tokens"]
PIECES = list("abAB019-_.~!$'()*,;:@+=") + [
    "%2F", "%2f", "%25", "%20", "%C3%BC", "%c3%bc", "%41", "%7E", "%00", "%F0%9F%98%80", "%3A", "%3F",
]
VALUES = ["", "a b", "ü€😀", "a:b/c", "x=y&z", "+", "%", "~", "a,b", "'\""]
NAMES = [
    "accept", "content-type", "x-amzn-bedrock-trace", "X-Amzn-Bedrock-Request-Metadata", "a-b", "A.b", "x_y", "z",
    "amz-sdk-invocation-id",
]


def signed(job, chance):
    """A request as [method, target, headers, body]."""
    payload = chance.choice(["undeclared", "hash", UNSIGNED])
    is_routed = payload == "undeclared" or chance.random() < 0.5
    method, path = ("POST", routed(job, chance)) if is_routed else (
        chance.choice(["POST", "GET", "PUT", "DELETE", "HEAD", "X-Y"]), odd_path(chance)
    )
    query = odd_query(chance) if chance.random() < 0.6 else ""
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": [{"text": word(chance, 40) + "ü€😀"}]}],
            "inferenceConfig": {"maxTokens": chance.randrange(1, 50)},
        },
        ensure_ascii=chance.random() < 0.5,
    ).encode()
    if chance.random() < 0.05:
        body = b""
    url = f"http://{job['host']}:{job['port']}{path}" + ("?" + query if query else "")
    request = botocore.awsrequest.AWSRequest(method=method, url=url, data=body)
    for _ in range(chance.randrange(7)):
        # A name that comes again is a header that is there twice.
        request.headers[chance.choice(NAMES)] = odd_value(chance)
    request.headers["Host"] = f"{job['host']}:{job['port']}"
    if payload != "undeclared":
        request.headers[DECLARED] = UNSIGNED if payload == UNSIGNED else hashlib.sha256(body).hexdigest()
    token = chance.choice([None, None, "left-over-token", "IQoJb3JpZ2luX2Vj//+=="])
    credentials = botocore.credentials.Credentials(job["access_key_id"], job["secret_access_key"], token)
    service = chance.choice(SERVICES * 10 + ["s3", "execute-api", "bedrock-runtime"])
    signer = chance.choice([botocore.auth.SigV4Auth] * 6 + [Signer, VerbatimSigner, botocore.auth.SigV4QueryAuth])
    region = chance.choice(["us-east-1", "eu-west-1", "ap-southeast-7"])
    signer(credentials, service, region).add_auth(request)
    parts = urllib.parse.urlsplit(request.url)
    target = parts.path + ("?" + parts.query if parts.query else "")
    return [request.method, target, list(request.headers.items()), body]


def routed(job, chance):
    model = chance.choice(job["models"] + ["custom-" + word(chance, 8)])
    safe = chance.choice(["", ":", ":/"])
    return "/model/" + urllib.parse.quote(model, safe=safe) + "/" + chance.choice(OPERATIONS)


def odd_path(chance):
    segments = ["model", "v1", "", ".", "..", "...", "invoke"]
    made = lambda: "".join(chance.choice(PIECES) for _ in range(chance.randrange(1, 6)))
    some = [chance.choice(segments) if chance.random() < 0.3 else made() for _ in range(chance.randrange(1, 5))]
    return "/" + "/".join(some)


def odd_query(chance):
    anew = lambda text: urllib.parse.quote(text, safe="-_.~")
    pairs = [(word(chance, chance.randrange(1, 3)), chance.choice(VALUES + [word(chance, 4)]))
             for _ in range(chance.randrange(1, 5))]
    # Most as SDKs write them; some as a person would.
    spell = anew if chance.random() < 0.7 else (lambda text: urllib.parse.quote(text, safe="-_.~:/@,'()!*$;"))
    return "&".join(spell(name) + "=" * (bool(value) or chance.random() < 0.7) + spell(value) for name, value in pairs)


def odd_value(chance):
    blanks = lambda: chance.choice([" ", "  ", "   ", "\t", " \t "])
    words = chance.choice([
        [], [word(chance, 6)], [word(chance, 6), word(chance, 3)], ["ü€😀", "é"], ["a,b", "c"], ['"q  uoted"'],
        ["application/json"], ["a" * 300],
    ])
    return blanks().join(words)


def word(chance, length):
    return "".join(chance.choice(PRINTED) for _ in range(length))


# What is changed of them. Some changes make no difference to a signature.


def with_path(change):
    def apply(request, chance):
        method, target, headers, body = request
        path, mark, query = target.partition("?")
        changed = change(path, chance)
        return [method, changed + mark + query, headers, body] if changed not in (None, path) else None

    return apply


def with_query(change):
    def apply(request, chance):
        method, target, headers, body = request
        path, _, query = target.partition("?")
        if not query:
            return None
        pairs = change(query.split("&"), chance)
        changed = "&".join(pairs) if pairs is not None else query
        return [method, path + "?" * bool(changed) + changed, headers, body] if changed != query else None

    return apply


def with_header(wanted, change):
    """Changes a header of this name; of several, any; `None` stands for those of NAMES."""

    def apply(request, chance):
        method, target, headers, body = request
        of = {name.lower() for name in NAMES} if wanted is None else {wanted}
        places = [at for at, (name, _) in enumerate(headers) if name.lower() in of]
        if not places:
            return None
        at = chance.choice(places)
        changed = change(headers[at], chance)
        return None if changed is None else [method, target, headers[:at] + changed + headers[at + 1 :], body]

    return apply


def with_value(wanted, change):
    def apply(header, chance):
        value = change(header[1], chance)
        return None if value in (None, header[1]) else [(header[0], value)]

    return with_header(wanted, apply)


def in_claim(part, change):
    """Changes a part of the authorization."""

    def apply(value, chance):
        found = re.search(part, value)
        if not found:
            return None
        start, end = found.span(1)
        new = change(value[start:end], chance)
        return None if new is None else value[:start] + new + value[end:]

    return with_value("authorization", apply)


def letter(text, chance):
    """The text with one letter or digit changed, not to its other case, which may say the same."""
    places = [at for at, it in enumerate(text) if it in PRINTED]
    if not places:
        return None
    at = chance.choice(places)
    others = [it for it in PRINTED if it.lower() != text[at].lower()]
    return text[:at] + chance.choice(others) + text[at + 1 :]


def other_case(text, chance):
    """An escape with its digits in the other case."""
    found = [it for it in re.finditer("%[0-9A-Fa-f]{2}", text) if it[0].swapcase() != it[0]]
    if not found:
        return None
    it = chance.choice(found)
    return text[: it.start()] + it[0].swapcase() + text[it.end() :]


def escaped(text, chance):
    """A character that need not be escaped, as an escape."""
    places = [at for at, it in enumerate(text) if it in PRINTED + "-_.~" and "%" not in text[max(0, at - 2) : at]]
    if not places:
        return None
    at = chance.choice(places)
    return text[:at] + f"%{ord(text[at]):02X}" + text[at + 1 :]


def inserted(what):
    def apply(text, chance):
        places = [at for at, it in enumerate(text) if it == "/"]
        at = chance.choice(places)
        return text[:at] + what + text[at:]

    return apply


def in_pair(change):
    def apply(pairs, chance):
        at = chance.randrange(len(pairs))
        new = change(pairs[at], chance)
        return None if new is None else pairs[:at] + [new] + pairs[at + 1 :]

    return apply


def shuffled(items, chance):
    return chance.sample(items, len(items))


def body_byte(request, chance):
    method, target, headers, body = request
    if not body:
        return [method, target, headers, b"x"]
    at = chance.randrange(len(body))
    other = bytes([body[at] ^ chance.randrange(1, 256)])
    return [method, target, headers, body[:at] + other + body[at + 1 :]]


def other_method(request, chance):
    return [chance.choice([it for it in ("POST", "PUT", "GET", "post") if it != request[0]])] + request[1:]


def headers_shuffled(request, chance):
    method, target, headers, body = request
    return [method, target, shuffled(headers, chance), body]


def header_added(name, value):
    return lambda request, _: [request[0], request[1], request[2] + [(name, value)], request[3]]


def joined(request, _):
    """Two headers of one name as one with a comma, which says the same."""
    method, target, headers, body = request
    for at, (name, value) in enumerate(headers):
        for other, (again, more) in enumerate(headers[at + 1 :], at + 1):
            if name.lower() == again.lower() and name.lower() != "authorization":
                rest = headers[at + 1 : other] + headers[other + 1 :]
                return [method, target, headers[:at] + [(name, value.strip() + "," + more.strip())] + rest, body]
    return None


CHANGES = {
    "method": other_method,
    "path letter": with_path(letter),
    "path escape in the other case": with_path(other_case),
    "path letter escaped": with_path(escaped),
    "path slash doubled": with_path(inserted("/")),
    "path with a dot segment": with_path(inserted("/.")),
    "path slash at the end": with_path(lambda path, _: path + "/"),
    "query letter": with_query(in_pair(letter)),
    "query escape in the other case": with_query(in_pair(other_case)),
    "query letter escaped": with_query(in_pair(escaped)),
    "query shuffled": with_query(shuffled),
    "query parameter twice": with_query(lambda pairs, chance: pairs + [chance.choice(pairs)]),
    "query parameter dropped": with_query(lambda pairs, _: pairs[1:]),
    "query with an empty parameter": with_query(lambda pairs, _: pairs + [""]),
    "query with a bare name": with_query(in_pair(lambda it, _: it[:-1] if it.endswith("=") else it + "=")),
    "header letter": with_value(None, letter),
    "header blanks": with_value(None, lambda value, _: "  " + re.sub(r"[ \t]+", " \t ", value) + " "),
    "header blank within": with_value(None, lambda value, _: value[:1] + " " + value[1:] if value[1:] else None),
    "header name in the other case": with_header(None, lambda it, _: [(it[0].swapcase(), it[1])]),
    "header dropped": with_header(None, lambda it, _: []),
    "header twice": with_header(None, lambda it, _: [it, it]),
    "header empty": with_value(None, lambda value, _: ""),
    "headers shuffled": headers_shuffled,
    "headers joined": joined,
    "header that is not signed": header_added("x-of-a-proxy", "1"),
    "header at the end": lambda request, chance: header_added(chance.choice(NAMES), "more")(request, chance),
    "host": with_value("host", letter),
    "host twice": with_header("host", lambda it, _: [it, it]),
    "token": with_value("x-amz-security-token", letter),
    "token dropped": with_header("x-amz-security-token", lambda it, _: []),
    "token that is not signed": header_added("X-Amz-Security-Token", "t"),
    "date": with_value("x-amz-date", lambda value, chance: value[:-3] + f"{chance.randrange(60):02}Z"),
    "date dropped": with_header("x-amz-date", lambda it, _: []),
    "date twice": with_header("x-amz-date", lambda it, _: [it, it]),
    "body": body_byte,
    "hash": with_value(DECLARED.lower(), letter),
    "hash in upper case": with_value(DECLARED.lower(), lambda value, _: value.swapcase()),
    "hash for none": with_value(DECLARED.lower(), lambda value, _: UNSIGNED),
    "hash dropped": with_header(DECLARED.lower(), lambda it, _: []),
    "hash twice": with_header(DECLARED.lower(), lambda it, _: [it, it]),
    "hash that is not signed": header_added(DECLARED, UNSIGNED),
    "authorization twice": with_header("authorization", lambda it, _: [it, it]),
    "authorization without blanks": with_value("authorization", lambda value, _: value.replace(", ", ",")),
    "key": in_claim("Credential=([^/]+)", letter),
    "day": in_claim("Credential=[^/]+/([^/]+)", letter),
    "region": in_claim("Credential=[^/]+/[^/]+/([^/]+)", letter),
    "service": in_claim("Credential=[^/]+/[^/]+/[^/]+/([^/]+)", lambda it, chance: chance.choice(SERVICES + ["s3"])),
    "terminator": in_claim("Credential=[^/]+/[^/]+/[^/]+/[^/]+/([^,]+)", letter),
    "signed headers shuffled": in_claim(
        "SignedHeaders=([^,]+)", lambda it, chance: ";".join(shuffled(it.split(";"), chance))
    ),
    "signed header dropped": in_claim(
        "SignedHeaders=([^,]+)", lambda it, chance: ";".join(it.split(";")[:-1])
    ),
    "signed header added": in_claim(
        "SignedHeaders=([^,]+)", lambda it, chance: ";".join(sorted({*it.split(";"), "x-more"}))
    ),
    "signature": in_claim("Signature=(.*)", letter),
    "signature in upper case": in_claim("Signature=(.*)", lambda it, _: it.upper()),
    "signature cut": in_claim("Signature=(.*)", lambda it, _: it[:-1]),
}


if __name__ == "__main__":
    main()
