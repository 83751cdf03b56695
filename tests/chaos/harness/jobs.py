"""The jobs that gateways have accepted: each ends once, with one result that every gateway shows."""

import http.client
import json
import threading
import time

from . import fleet
from .fleet import GATEWAYS, PORT
from .load import NONCE

# A claim of a gateway that is gone lapses after three heartbeats, another gateway may wait two before it
# takes over, and a run takes seconds.
ENDS_S = 30


# Connections of each thread, by gateway.
CONNECTIONS = threading.local()


def status_at(gateway, job):
    """The state of a job as one gateway shows it; None if it can't tell."""
    open_ones = CONNECTIONS.__dict__.setdefault("by_gateway", {})
    headers = {"authorization": "Bearer " + fleet.key_of("open")}
    # Twice, because a connection may be one to a gateway that was killed since.
    for _ in range(2):
        if gateway not in open_ones:
            open_ones[gateway] = http.client.HTTPConnection(GATEWAYS[gateway], PORT, timeout=5)
        try:
            open_ones[gateway].request("GET", f"/task_status/{job}", headers=headers)
            answer = open_ones[gateway].getresponse()
            text = answer.read()
            return json.loads(text) if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            open_ones.pop(gateway).close()
    return None


class Jobs:
    """Follows the jobs of a load; `ended` has the first result that was seen of each."""

    def __init__(self, load):
        self.load = load
        self.ended, self.violations = {}, []
        # Jobs whose results were compared at all gateways.
        self.settled = set()
        # Jobs that were lost with all of Redis's data.
        self.gone = set()

    def accepted(self):
        return [it for it in self.load.since(0, "chat") if it.job and it.job not in self.gone]

    def forget(self, until):
        """Redis has lost all that it had at this time."""
        self.gone |= {it.job for it in self.load.since(0, "chat") if it.job and it.began <= until}

    def look(self, gateway, requests=None):
        """Looks at the jobs that have not ended yet: all, or those of some requests."""
        for request in self.accepted() if requests is None else requests:
            if request.job not in self.ended:
                self.see(request, status_at(gateway, request.job))

    def see(self, request, status):
        if status is None or not status.get("ready"):
            return
        known = self.ended.setdefault(request.job, status)
        if known != status:
            self.violations.append(f"job {request.job} has two results: {known} and {status}")

    def settle(self):
        """Waits until all that were accepted until now have ended, and compares what the gateways show.
        Returns how long that took."""
        began, requests = time.monotonic(), [it for it in self.accepted() if it.job not in self.settled]
        while time.monotonic() - began < ENDS_S:
            self.look(0, requests)
            if all(request.job in self.ended for request in requests):
                break
            time.sleep(0.2)
        took = time.monotonic() - began
        for request in requests:
            self.settled.add(request.job)
            if request.job not in self.ended:
                self.violations.append(f"job {request.job} has not ended: {status_at(0, request.job)}")
                continue
            for gateway in range(len(GATEWAYS)):
                status = status_at(gateway, request.job)
                if status is None or not status.get("ready"):
                    self.violations.append(f"gateway {gateway + 1} does not show job {request.job}: {status}")
                else:
                    self.see(request, status)
            self.judge(request, self.ended[request.job])
        return took

    def judge(self, request, status):
        if status["state"] == "SUCCESS":
            found = set(NONCE.findall(json.dumps(status["result"])))
            if found != {request.nonce}:
                self.load.note_wrong(request, f"the job's result has {sorted(found)}: {status}")

    def failed(self):
        return [job for job, status in self.ended.items() if status["state"] != "SUCCESS"]
