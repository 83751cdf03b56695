"""Threads of clients, which send requests at a rate, each with dice of its own, and note what came of them."""

import random
import threading
import time
from collections import Counter

from . import requests
from .exchange import Connection

# A client's requests come at times with random gaps; one that is late by more than this does not catch up.
MOST_LATE_S = 2
# Turns of one conversation.
MOST_TURNS = 5


class ClientBook:
    """What the clients have sent and what they saw of it, by gateway and client."""

    def __init__(self):
        self.lock = threading.Lock()
        # (gateway, client, status or None) of requests that were not given up.
        self.statuses = Counter()
        # (gateway, client): sent, whole, given up; and kind of request with status.
        self.sent, self.whole, self.left, self.kinds = Counter(), Counter(), Counter(), Counter()
        # Kept responses by gateway: those that said so, and those that may be kept because the client left.
        self.kept, self.maybe_kept = Counter(), Counter()
        self.foreign = []

    def note(self, gateway, client, request, result):
        with self.lock:
            key = gateway.name, client
            self.sent[key] += 1
            self.whole[key] += result.is_whole
            self.left[key] += result.was_left
            if not result.was_left:
                self.statuses[*key, result.status] += 1
            seen = "given up" if result.was_left else "no answer" if result.status is None else (
                f"{result.status} broken" if result.status == 200 and not result.is_whole else str(result.status))
            self.kinds[request.kind, seen] += 1
            if result.is_foreign:
                self.foreign.append(request.kind)
            # In a stream the last event says whether the response is stored.
            last = result.data.rpartition(b"event: response.")[2]
            if request.is_kept and result.is_whole and b'"store":true' in last:
                self.kept[gateway.name] += 1
            elif request.is_kept and result.was_left:
                self.maybe_kept[gateway.name] += 1


class Client(threading.Thread):
    """`ask` sends the next request."""

    def __init__(self, name, seed, gateways, rate, book, stop):
        super().__init__(name=name, daemon=True)
        self.dice = random.Random(f"{seed} {name}")
        self.gateways, self.rate, self.book, self.stop = gateways, rate, book, stop
        self.connections = {}
        self.make = requests.Maker(self.dice, name)
        self.failure = None

    def run(self):
        due = time.monotonic()
        try:
            while not self.stop.is_set():
                due = max(due, time.monotonic() - MOST_LATE_S) + self.dice.expovariate(self.rate)
                if self.stop.wait(max(0, due - time.monotonic())):
                    break
                self.ask(self.dice.choice(self.gateways))
        except Exception as why:
            self.failure = why
            raise
        finally:
            for connection in self.connections.values():
                connection.close()

    def send(self, gateway, request, client, leaves_after=None):
        connection = self.connections.setdefault(gateway.name, Connection(gateway))
        result = connection.send(request, client, leaves_after)
        self.book.note(gateway, client, request, result)
        if self.dice.random() < 0.02:
            connection.close()
        return result


class Steady(Client):
    """Stays until its answers end; goes on with conversations; now and then uses up a rate or a budget."""

    KINDS = requests.mix()

    def __init__(self, *args):
        super().__init__(*args)
        # (gateway, whether it was bridged, id of its last response, turns)
        self.conversation = None

    def ask(self, gateway):
        pick = self.dice.random()
        if pick < 0.15:
            self.converse(gateway)
        elif pick < 0.19:
            self.send(gateway, self.make.embedding(), "embedder")
        else:
            client = "poor" if pick > 0.985 else "capped" if pick > 0.95 else "steady"
            self.send(gateway, requests.chosen(self.dice, self.KINDS)(self.make), client)

    def converse(self, gateway):
        """The next turn of the conversation; at its end its last response is read, listed, and deleted."""
        if self.conversation is None:
            bridged = self.dice.random() < 0.7
            store = self.dice.choice([None, None, None, True, False])
            client = "steady" if bridged else "storer"
            result = self.send(gateway, self.make.response(bridged, False, store=store), client)
            if result.is_whole and result.json().get("store"):
                self.conversation = gateway, bridged, result.json()["id"], 1
            return
        gateway, bridged, last, turns = self.conversation
        client, self.conversation = "steady" if bridged else "storer", None
        if turns < MOST_TURNS:
            is_stream = self.dice.random() < 0.4
            result = self.send(gateway, self.make.response(bridged, is_stream, last), client)
            if result.is_whole and not is_stream and result.json().get("store"):
                self.conversation = gateway, bridged, result.json()["id"], turns + 1
            return
        path = f"{requests.RESPONSES}/{last}"
        for method, rest in [("GET", ""), ("GET", "/input_items")] + [("DELETE", "")] * (self.dice.random() < 0.5):
            self.send(gateway, requests.Request("stored responses", path + rest, method=method), client)


class Leaver(Client):
    """Gives up: before the head, after it, or in the middle of the answer."""

    KINDS = requests.left()

    def ask(self, gateway):
        request = requests.chosen(self.dice, self.KINDS)(self.make)
        self.send(gateway, request, "leaver", self.dice.choice([0, 1, 200, 1000]))


def start(args, gateways, book, stop):
    """The threads, which together send `args.rate` requests a second."""
    leavers = max(1, args.threads // 6)
    share = args.rate / args.threads
    names = [(Leaver, f"leaver{n}") for n in range(leavers)] + [
        (Steady, f"steady{n}") for n in range(args.threads - leavers)]
    clients = [kind(name, args.seed, gateways, share, book, stop) for kind, name in names]
    for client in clients:
        client.start()
    return clients
