"""The bidirectional stream over HTTP/2, by curl: events go up while echoes come down."""

import base64
import binascii
import json
import re
import shutil
import struct
import subprocess
import urllib.parse

from . import configs
from .exchange import Result
from .requests import Request

EVENTS = 3
CLIENT = "steady"


def header(name, value):
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()


def frame(payload):
    """A frame of an event stream."""
    headers = header(":event-type", "chunk") + header(":content-type", "application/json") + header(
        ":message-type", "event")
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    data = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return data + struct.pack(">I", binascii.crc32(data))


def events():
    said = [json.dumps({"say": f"word {n}"}).encode() for n in range(EVENTS)]
    return b"".join(frame(json.dumps({"bytes": base64.b64encode(it).decode()}).encode()) for it in said)


def can_talk():
    curl = shutil.which("curl")
    return curl is not None and b"HTTP2" in subprocess.run([curl, "--version"], stdout=subprocess.PIPE).stdout


def talk(gateway, book):
    """One conversation of a few events, which the book notes."""
    path = f"/model/{urllib.parse.quote(configs.CLAUDE, safe='')}/invoke-with-bidirectional-stream"
    command = ["curl", "-sS", "--http2-prior-knowledge", "--max-time", "15", "--data-binary", "@-",
               "-H", "content-type: application/vnd.amazon.eventstream",
               "-H", f"authorization: Bearer {configs.key_of(CLIENT)}", "-w", "%{stderr}status=%{http_code}",
               f"http://127.0.0.1:{gateway.port}{path}"]
    done = subprocess.run(command, input=events(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    code = re.search(rb"status=([1-9]\d\d)", done.stderr)
    status = int(code[1]) if code else None
    # The last event tells the usage: a token for each event. It comes in base64 like all others.
    is_whole = status == 200 and done.returncode == 0 and done.stdout.count(b":event-type") == EVENTS + 1
    book.note(gateway, CLIENT, Request("bidirectional", path, ends_with=b""), Result(status, is_whole, done.stdout))
