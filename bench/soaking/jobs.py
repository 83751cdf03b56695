"""The legacy endpoints, and every accepted job, whose state is asked until it has ended."""

import time
from collections import Counter

from .exchange import Connection
from .load import Client
from .requests import Request

# How often the state of a job is asked.
POLL_S = 3
# A job that has not ended after this is lost. Claims of a store that was away lapse within a minute.
LOST_AFTER_S = 150
CLIENT = "legacy"


class JobBook:
    """What became of the jobs, by gateway and state."""

    def __init__(self):
        self.accepted, self.ended, self.synchronous = Counter(), Counter(), Counter()
        self.lost = []


class Caller(Client):
    def __init__(self, name, seed, gateways, rate, book, stop, jobs):
        super().__init__(name, seed, gateways, rate, book, stop)
        self.jobs = jobs
        # id -> (gateway, accepted at, next look at); sessions by gateway.
        self.open, self.sessions = {}, {gateway.name: [] for gateway in gateways}

    def ask(self, gateway):
        self.poll()
        pick = self.dice.random()
        if pick < 0.4:
            session = f"{self.name}-{self.dice.randrange(40)}"
            _, text = self.make.text()
            self.submit(gateway, Request("legacy analysis", "/analyze_section", {
                "session_id": session, "section_name": "S", "content": text, "async": self.dice.random() < 0.8}))
            self.sessions[gateway.name] = (self.sessions[gateway.name] + [session])[-20:]
        elif pick < 0.7 and self.sessions[gateway.name]:
            session = self.dice.choice(self.sessions[gateway.name])
            self.submit(gateway, Request("legacy chat", "/chat", {
                "session_id": session, "message": "What of it?", "async": self.dice.random() < 0.8}))
        elif pick < 0.75:
            self.submit(gateway, Request("legacy test", "/test_claude_connection", method="GET"))
        elif pick < 0.8 and self.open:
            job, (owner, *_) = self.dice.choice(sorted(self.open.items(), key=lambda item: item[0]))
            self.legacy(owner, Request("legacy cancel", f"/cancel_task/{job}", {}))
        elif pick < 0.82:
            self.legacy(gateway, Request("legacy reset", "/reset_model_cooldowns", {}))
        else:
            path = self.dice.choice(["/health", "/queue_stats", "/model_stats"])
            self.legacy(gateway, Request("legacy state", path, method="GET"))

    def legacy(self, gateway, request):
        connection = self.connections.setdefault(gateway.name, Connection(gateway))
        result = connection.send(request, CLIENT)
        with self.book.lock:
            self.book.kinds[request.kind, str(result.status or "no answer")] += 1
        return result

    def submit(self, gateway, request):
        result = self.legacy(gateway, request)
        if result.status == 200:
            task = result.json().get("task_id")
            with self.book.lock:
                (self.jobs.accepted if task else self.jobs.synchronous)[gateway.name] += 1
            if task:
                now = time.monotonic()
                self.open[task] = gateway, now, now + POLL_S

    def poll(self):
        now = time.monotonic()
        for job, (gateway, since, due) in list(self.open.items()):
            if due > now:
                continue
            self.open[job] = gateway, since, now + POLL_S
            result = self.legacy(gateway, Request("legacy task_status", f"/task_status/{job}", method="GET"))
            if result.status == 200 and result.json().get("ready"):
                with self.book.lock:
                    self.jobs.ended[gateway.name, result.json().get("status", "?")] += 1
                del self.open[job]
            elif now - since > LOST_AFTER_S:
                with self.book.lock:
                    self.jobs.lost.append(f"{gateway.name} {job} {result.status} {result.data[:200]}")
                del self.open[job]

    def finish(self):
        """Asks for the open jobs until all have ended. Called when the thread has ended."""
        while self.open:
            self.poll()
            time.sleep(0.5)
        for connection in self.connections.values():
            connection.close()
