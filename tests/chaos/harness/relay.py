"""The process that carries the packets: out of each TUN device, over a link, into another one.

    relay.py SEED DESCRIPTOR=ADDRESS[,ADDRESS] ...

It reads orders as JSON lines and answers each with one. It holds packets in memory, at most MOST of them.
The same seed gives the same dice; the order of the packets depends on the machine.
"""

import dataclasses
import heapq
import json
import os
import random
import select
import socket
import sys
import time

# Packets under way at once, and the longest one.
MOST, LONGEST = 20_000, 65_536
# Packets that are read of a device before the next one's turn.
AT_ONCE = 64
# Where an IPv4 header has its two addresses.
ADDRESSES, DESTINATION = slice(12, 20), slice(16, 20)


@dataclasses.dataclass
class Link:
    """What happens to packets, in milliseconds and shares of 1."""

    delay: float = 0.0
    jitter: float = 0.0  # evenly spread around the delay
    loss: float = 0.0
    reorder: float = 0.0  # the share that may overtake; all others keep their order


class Relay:
    def __init__(self, seed, nodes):
        self.dice = random.Random(seed)
        self.devices = {}
        for device, addresses in nodes:
            for address in addresses:
                self.devices[socket.inet_aton(address)] = device
        self.weather = Link()
        self.cuts = set()
        self.under_way = []
        self.sent = 0
        # When the last packet from one address to another is due.
        self.last_due = {}
        self.counts = {"passed": 0, "lost": 0, "cut": 0}

    def take(self, packet):
        device = self.devices.get(packet[DESTINATION])
        if device is None or packet[0] >> 4 != 4:
            return
        pair = packet[ADDRESSES]
        if pair in self.cuts:
            self.counts["cut"] += 1
            return
        link = self.weather
        if link.loss and self.dice.random() < link.loss or len(self.under_way) >= MOST:
            self.counts["lost"] += 1
            return
        if not link.delay and not self.under_way:
            self.pass_on(device, packet)
            return
        least, most = link.delay - link.jitter, link.delay + link.jitter
        due = time.monotonic() + self.dice.uniform(least, most) / 1000
        if self.dice.random() >= link.reorder:
            due = max(due, self.last_due.get(pair, 0))
            self.last_due[pair] = due
        self.sent += 1
        heapq.heappush(self.under_way, (due, self.sent, device, packet))

    def pass_on(self, device, packet):
        # A packet under way when its link is cut is lost, too.
        if packet[ADDRESSES] in self.cuts:
            self.counts["cut"] += 1
            return
        try:
            os.write(device, packet)
            self.counts["passed"] += 1
        except OSError:
            self.counts["lost"] += 1

    def deliver(self):
        """Passes on what is due, and gives the milliseconds until the next is."""
        while self.under_way:
            wait = self.under_way[0][0] - time.monotonic()
            if wait > 0:
                return wait * 1000
            _, _, device, packet = heapq.heappop(self.under_way)
            self.pass_on(device, packet)
        return None

    def obey(self, order):
        if "weather" in order:
            self.weather = Link(**order["weather"])
        if "cut" in order:
            self.cuts |= {socket.inet_aton(one) + socket.inet_aton(other) for one, other in order["cut"]}
        if "heal" in order:
            self.cuts.clear()
        return self.counts


def run(relay, devices):
    orders = sys.stdin.buffer
    poll = select.poll()
    for descriptor in [orders.fileno(), *devices]:
        poll.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll(relay.deliver()):
            if descriptor == orders.fileno():
                line = orders.readline()
                if not line:
                    return
                print(json.dumps(relay.obey(json.loads(line))), flush=True)
                continue
            for _ in range(AT_ONCE):
                try:
                    relay.take(os.read(descriptor, LONGEST))
                except BlockingIOError:
                    break


def main():
    nodes = []
    for node in sys.argv[2:]:
        descriptor, addresses = node.split("=")
        nodes.append((int(descriptor), addresses.split(",")))
    run(Relay(int(sys.argv[1]), nodes), [descriptor for descriptor, _ in nodes])


if __name__ == "__main__":
    main()
