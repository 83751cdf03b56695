"""Pairs each attempt in the gateways' access logs with the simulator's entry for it, by the upstream's request id.

Both are read while the run goes on, and what has its pair is forgotten, so that an hour needs no more memory than
a minute.
"""

import json
from collections import Counter

# An entry that is open for longer than this is taken as it is.
OPEN_S = 60
# Most entries of one look at the simulator's log, which has 10,000.
PAGE = 1000
TOKENS = ("input", "output", "cache_read", "cache_write")
# Operations that use no tokens.
COUNTING = {"CountTokens", "CountMessageTokens"}
# Its answer has no id of the upstream, and the simulator keeps it out of its books, so that only the sums compare.
BOTH_WAYS = "InvokeModelWithBidirectionalStream"


class Sums:
    """A number of things and their tokens by kind."""

    def __init__(self):
        self.count, self.tokens = 0, Counter()

    def add(self, tokens):
        self.count += 1
        self.tokens.update(tokens)


def group(table, key):
    return table.setdefault(key, Sums())


class AccessLog:
    """Reads the lines that were added to a log since the last look."""

    def __init__(self, gateway):
        self.gateway, self.file, self.rest = gateway, gateway.access_log.open("rb"), b""

    def new(self):
        *lines, self.rest = (self.rest + self.file.read()).split(b"\n")
        return [json.loads(line) for line in lines]


class Ledger:
    def __init__(self, stage):
        self.stage = stage
        self.logs = [AccessLog(gateway) for gateway in stage.gateways]
        self.cursor = 0
        self.attempts, self.entries = {}, {}
        # (gateway, client, operation, outcome) and (gateway, client, status) of lines.
        self.lines, self.statuses = Counter(), Counter()
        # Tokens that answers reported, by (gateway, client).
        self.reported = {}
        # Attempts whose answer reported its tokens, and the same by the simulator.
        self.told, self.generated = Sums(), Sums()
        # The same of answers that broke although their head had told the tokens: the service has generated, and
        # charges for, a whole answer, and the simulator counts what it has sent of it.
        self.told_and_broken, self.sent_and_broken = Sums(), Sums()
        # The same of bidirectional streams.
        self.told_both_ways, self.generated_both_ways = Sums(), Sums()
        self.differences = []
        # All other attempts with an entry, by how both saw them, with the simulator's tokens.
        self.untold = {}
        # Attempts without an answer's head, by outcome; entries that no attempt names.
        self.headless = Counter()
        # Requests whose client left before an answer began, so that an attempt may have no line.
        self.left_early = 0
        # All entries of the simulator.
        self.calls = Sums()
        self.duplicates = 0

    def look(self):
        for log in self.logs:
            for line in log.new():
                self.line(log.gateway.name, line)
        while self.page():
            pass

    def line(self, gateway, line):
        client, operation = line["client"], line["operation"]
        self.lines[gateway, client, operation, line["outcome"]] += 1
        self.statuses[gateway, client, operation, line["status"]] += 1
        self.left_early += line["outcome"] == "client_gone" and line["status"] == 0
        usage = line.get("usage") if operation not in COUNTING else None
        if usage:
            group(self.reported, (gateway, client)).add(usage)
        if operation == BOTH_WAYS:
            self.told_both_ways.add(usage or {})
            return
        attempts = line["attempts"]
        for number, attempt in enumerate(attempts, 1):
            request_id = attempt.get("upstream_request_id")
            # The usage is that of the attempt that answered, the last one.
            told = usage if number == len(attempts) else None
            if request_id is None:
                self.headless[attempt["outcome"]] += 1
                if told:
                    self.differences.append(f"tokens without an upstream's id: {line}")
            elif request_id in self.attempts:
                self.duplicates += 1
            else:
                self.attempts[request_id] = attempt["outcome"], line["outcome"], told, operation
                self.pair(request_id)

    def page(self):
        """Takes the entries up to the first that is open; whether there may be more."""
        text = self.stage.control("GET", f"log?since={self.cursor}&limit={PAGE}")
        entries = json.loads(text)["entries"]
        newest = entries[-1]["at_ms"] if entries else 0
        for entry in entries:
            if entry["ending"] == "open" and newest - entry["at_ms"] < OPEN_S * 1000:
                return False
            if entry["seq"] != self.cursor + 1:
                self.differences.append(f"the simulator's log lacks entries {self.cursor + 1} to {entry['seq'] - 1}")
            self.cursor = entry["seq"]
            self.entry(entry)
        return len(entries) == PAGE

    def entry(self, entry):
        tokens = {kind: entry[kind + "_tokens"] for kind in TOKENS}
        if entry["operation"] == BOTH_WAYS:
            self.generated_both_ways.add(tokens)
            return
        self.calls.add(tokens)
        self.entries[entry["request_id"]] = tokens, entry["ending"], entry["fault"], entry["operation"], entry["status"]
        self.pair(entry["request_id"])

    def pair(self, request_id):
        if request_id not in self.attempts or request_id not in self.entries:
            return
        outcome, ended, told, operation = self.attempts.pop(request_id)
        tokens, ending, fault, *_ = self.entries.pop(request_id)
        if told and operation == "InvokeModel" and ended != "success" and ending != "finished":
            self.told_and_broken.add(told)
            self.sent_and_broken.add(tokens)
        elif told:
            self.told.add(told)
            self.generated.add(tokens)
            if told != tokens:
                self.differences.append(f"{request_id} {operation} {outcome}, {ended}: the answer reported {told}, "
                                        f"and the simulator {tokens} ({ending}, {fault})")
        else:
            group(self.untold, (outcome, ended, ending, fault or "no fault")).add(tokens)

    def unpaired_entries(self):
        """Entries that no attempt names, by what the simulator did."""
        found = {}
        for tokens, ending, fault, operation, status in self.entries.values():
            group(found, (fault or "no fault", ending, "no head" if status is None else f"head {status}")).add(tokens)
        return found
