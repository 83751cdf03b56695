"""Makes random streams and tells what the decoders of SDKs read in them.

A job as JSON on stdin (`decoder`: `openai`, `anthropic` or `botocore`; `seed`; `seeds`, a folder with streams to
change; `count` or `seconds`). On stdout a line of JSON for each stream: its `chunks` in hexadecimal digits, the
`events` up to the end or up to what the decoder raised, its name as `raised`, and whether the stream `is_plain`: as
the protocol has it, so that every reader must read it.
"""

import importlib
import json
import pathlib
import random
import struct
import sys
import time
import zlib

from botocore.eventstream import EventStreamBuffer

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def main():
    job = json.load(sys.stdin)
    chance = random.Random(job["seed"])
    seeds = [it.read_bytes() for it in sorted(pathlib.Path(job["seeds"]).iterdir())]
    make, read = frames_and_reader() if job["decoder"] == "botocore" else events_and_reader(job["decoder"])
    until = time.monotonic() + job.get("seconds", float("inf"))
    number = 0
    while number < job.get("count", float("inf")) and time.monotonic() < until:
        stream, is_plain = make(chance, seeds)
        chunks = cut(stream, chance)
        events, raised = [], None
        try:
            for event in read(chunks):
                events.append(event)
        except Exception as error:
            raised = type(error).__name__
        hexadecimal = [chunk.hex() for chunk in chunks]
        print(json.dumps({"chunks": hexadecimal, "events": events, "raised": raised, "is_plain": is_plain}))
        number += 1


def cut(stream, chance):
    """The stream in chunks: whole, byte by byte, or in pieces of all lengths."""
    longest = chance.choice([1, 3, 20, 100, len(stream) + 1])
    chunks, at = [], 0
    while at < len(stream):
        end = at + chance.randint(1, longest)
        chunks.append(stream[at:end])
        at = end
    return chunks


def changed(stream, chance):
    """A few bytes changed, taken out or repeated."""
    stream = bytearray(stream)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(stream) + 1)
        stream[at : at + chance.randrange(4)] = chance.choice(
            [b"", chance.randbytes(1), b"\n", b"\r", b":", stream[at : at + chance.randrange(20)]]
        )
    return bytes(stream)


# Server-sent events.

PIECES = [
    b"data", b"data:", b"data: ", b"data:  ", b"event", b"event:", b"event: ", b"id: ", b"id:", b"retry: ", b"retry: 7",
    b":", b": ping", b"Data: ", b" data: ", b"dat", b"a: ", b"\n", b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b"\r\r",
    b"\n\r", b" ", b"x", b"{}", b'{"a": 1}', "ü😀".encode(), b"\xff", b"\xc3", b"\0", BYTE_ORDER_MARK, b"\x0b", b"\x0c",
    b"\x1c", b"\x1e", b"\x85", "\u2028\u2029\x85".encode(), b"[DONE]", b"error", b"message_stop", b"y" * 300,
]
LINE_ENDS = [b"\n", b"\r\n", b"\r"]


def events_and_reader(package):
    decoder = importlib.import_module(f"{package}._streaming").SSEDecoder

    def read(chunks):
        for event in decoder().iter_bytes(iter(chunks)):
            yield [event.event, event.data]

    return random_events, read


def random_events(chance, seeds):
    is_plain = chance.random() < 0.3
    if is_plain:
        stream = b"".join(plain_event(chance) for _ in range(chance.randrange(1, 8)))
    elif chance.random() < 0.5:
        stream = changed(chance.choice(seeds), chance)
    else:
        stream = b"".join(chance.choice(PIECES) for _ in range(chance.randrange(40)))
    # The decoders take the mark for a part of the first field's name, against the standard.
    while stream.startswith(BYTE_ORDER_MARK):
        stream = stream[len(BYTE_ORDER_MARK) :]
    return stream, is_plain


def plain_event(chance):
    end = chance.choice(LINE_ENDS)
    data = [json.dumps({"a": chance.choice(["", "ü😀", "x" * chance.randrange(300), "\n"])}, ensure_ascii=False)]
    if chance.random() < 0.1:
        data = ["[", "]"]
    lines = ["event: " + chance.choice(["ping", "error", "response.completed"])] * (chance.random() < 0.5)
    lines += [": a comment"] * (chance.random() < 0.1) + ["id: 7"] * (chance.random() < 0.1)
    lines += ["data: " + it for it in data]
    return end.join(line.encode() for line in lines) + end + end


# Frames of event streams.

TEXTS = [b"", b"event", b"exception", b"error", b"chunk", b"messageStart", b"throttlingException", "ü".encode(), b"x" * 200]
HEADERS = [b":message-type", b":event-type", b":exception-type", b":error-code", b":error-message", b":content-type",
           b"", b"a", b"ab", "ü".encode()]


def frames_and_reader():
    def read(chunks):
        buffer = EventStreamBuffer()
        for chunk in chunks:
            buffer.add_data(chunk)
            for message in buffer:
                texts = {name: it for name, it in message.headers.items() if isinstance(it, str)}
                others = [name for name, it in message.headers.items() if not isinstance(it, str)]
                yield {"texts": texts, "others": others, "payload": message.payload.hex()}

    return random_frames, read


def random_frames(chance, seeds):
    if chance.random() < 0.1:
        return changed(chance.choice(seeds), chance), False
    is_plain = chance.random() < 0.4
    made = [frame(chance, is_plain) for _ in range(chance.randrange(1, 5))]
    stream = b"".join(made)
    if not is_plain and chance.random() < 0.3:
        stream = changed(stream, chance)
    return stream, is_plain


def frame(chance, is_plain):
    """A frame with the right checksums; unless it is to be plain, with lengths or headers that may be wrong."""
    names = chance.sample(HEADERS[:6] if is_plain else HEADERS, chance.randrange(5))
    if not is_plain and names and chance.random() < 0.1:
        names.append(chance.choice(names))
    if not is_plain and chance.random() < 0.02:
        names += [b"x-%d" % number for number in range(chance.randrange(60))]
    headers = b"".join(header(name, chance, is_plain) for name in names)
    payload = chance.choice([b"", b"{}", b'{"bytes": "e30="}', chance.randbytes(chance.randrange(100)), b"z" * 2000])
    headers_length, total = len(headers), 16 + len(headers) + len(payload)
    if not is_plain and chance.random() < 0.3:
        match chance.randrange(4):
            case 0:
                headers = changed(headers, chance)
                headers_length, total = len(headers), 16 + len(headers) + len(payload)
            case 1:
                headers_length = chance.choice([0, 1, headers_length + 1, total, 200_000, 2**32 - 1])
            case 2:
                total = chance.choice([0, 4, 11, 12, 15, 16, 17, total - 1, total + 1, 2**24, 2**32 - 1])
            case 3:
                headers = headers[: chance.randrange(len(headers) + 1)]
                headers_length, total = len(headers), 16 + len(headers) + len(payload)
    prelude = struct.pack("!II", total, headers_length)
    prelude += struct.pack("!I", zlib.crc32(prelude))
    body = prelude + headers + payload
    if total != len(body) + 4:
        # Where the reader will look for the checksum.
        body = (body + payload)[: max(0, total - 4)] if total < 10_000 else body
    checksum = struct.pack("!I", zlib.crc32(body))
    if not is_plain and chance.random() < 0.05:
        checksum = chance.randbytes(4)
    return body + checksum


def header(name, chance, is_plain):
    kind = 7 if chance.random() < 0.8 else chance.randrange(10 if is_plain else 12)
    if kind in (6, 7):
        text = chance.choice(TEXTS)
        if kind == 7 and not is_plain and chance.random() < 0.05:
            text = b"\xff"
        value = struct.pack("!H", len(text)) + text
    else:
        value = chance.randbytes({0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}.get(kind, 3))
    return bytes([len(name)]) + name + bytes([kind]) + value


if __name__ == "__main__":
    main()
