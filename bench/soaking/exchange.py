"""Sends one request, reads its answer, and judges it: whole, broken, given up, or another request's."""

import base64
import http.client
import json
import re
import socket
import struct

from . import configs

# A whole event-stream answer has no frame with one of these headers.
ERRORS_IN_FRAMES = (b":exception-type", b":error-code")
ERRORS_IN_EVENTS = (b"event: error", b'"type":"error"', b'"type": "error"', b'data: {"error"', b"response.failed")


class Result:
    def __init__(self, status, is_whole=False, data=b"", is_foreign=False, was_left=False):
        self.status, self.is_whole, self.data = status, is_whole, data
        self.is_foreign, self.was_left = is_foreign, was_left

    def json(self):
        return json.loads(self.data)


class Connection:
    """A client's connection to one gateway, kept between requests."""

    def __init__(self, gateway):
        self.port, self.http = gateway.port, None

    def send(self, request, client, leaves_after=None):
        """The result. `leaves_after`: reads that many bytes at most, and goes; 0 does not wait for the head."""
        if self.http is None:
            self.http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"content-type": "application/json", "authorization": f"Bearer {configs.key_of(client)}",
                   **request.headers}
        try:
            self.http.request(request.method, request.path, request.data(), headers)
            if leaves_after == 0:
                self.close(True)
                return Result(None, was_left=True)
            answer = self.http.getresponse()
        except (OSError, http.client.HTTPException):
            self.close()
            return Result(None)
        try:
            if leaves_after is not None:
                answer.read(leaves_after)
                self.close(True)
                return Result(answer.status, was_left=True)
            data = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return Result(answer.status)
        if answer.will_close:
            self.close()
        return judge(request, answer.status, data)

    def close(self, resets=False):
        if self.http is not None:
            if resets and self.http.sock is not None:
                # Half of those who go do so with a reset, as a process that is killed.
                self.http.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.http.close()
            self.http = None


def judge(request, status, data):
    if status != 200:
        return Result(status, data=data)
    if request.ends_with is None:
        is_foreign = request.marker is not None and request.marker not in data
        return Result(status, not is_foreign, data, is_foreign)
    if data.startswith(b"event:") or data.startswith(b"data:"):
        is_whole = request.ends_with in data[-12_000:] and not any(mark in data for mark in ERRORS_IN_EVENTS)
        if b'"type":"response.' in request.ends_with:
            is_whole = is_whole and (b"event: response.completed" in data or b"event: response.incomplete" in data)
    else:
        chunks = re.findall(rb'"bytes":"([^"]*)"', data)
        text = b"".join(map(base64.b64decode, chunks)) if chunks else data
        is_whole = request.ends_with in text and not any(mark in data for mark in ERRORS_IN_FRAMES)
    return Result(status, is_whole, data)
