"""What goes wrong in a run, by a seeded die and a schedule: faults, reloads, restarts of Redis, a full disk."""

import bisect
import json
import random
import signal
import threading
import time

from . import both_ways, configs

FAULTS = [
    {"kind": "throttle"}, {"kind": "throttle_tokens"}, {"kind": "throttle_daily"},
    {"kind": "service_quota_exceeded"}, {"kind": "model_not_ready"}, {"kind": "service_unavailable"},
    {"kind": "internal"}, {"kind": "model_timeout"},
    {"kind": "model_error"}, {"kind": "validation"}, {"kind": "access_denied"}, {"kind": "not_found"},
    {"kind": "html_502"}, {"kind": "hang_before_head"}, {"kind": "slow_head", "ms": 300},
    {"kind": "reset_before_head"}, {"kind": "close_before_head"}, {"kind": "garbage_head"}, {"kind": "short_body"},
    {"kind": "reset_mid_body"}, {"kind": "json_200_on_stream"}, {"kind": "empty_stream"},
    {"kind": "exception_first_frame"}, {"kind": "exception_frame", "frame": 3}, {"kind": "error_frame", "frame": 4},
    {"kind": "response_failed", "frame": 3}, {"kind": "bad_crc_frame", "frame": 3},
    {"kind": "truncated_frame", "frame": 3},
    {"kind": "end_after_frames", "frames": 3}, {"kind": "end_before_last_frame"},
    {"kind": "close_after_frames", "frames": 2}, {"kind": "reset_after_frames", "frames": 2},
    {"kind": "stall_after_frames", "frames": 2}, {"kind": "slow_trickle", "bytes": 7, "ms": 1},
]
MODELS = list(configs.TARGETS.values())
# Seconds between two faults, each of which hits up to `MOST_HITS` requests.
FAULT_EVERY_S, MOST_HITS = 0.7, 3
# How long Redis is away.
AWAY_S = [0.5, 2, 8]


class Disturbance:
    def __init__(self, args, stage, book):
        self.stage, self.book, self.dice = stage, book, random.Random(f"{args.seed} disturbance")
        self.seconds = args.minutes * 60
        self.faults, self.redis_restarts, self.talks, self.full_s = 0, 0, 0, 0.0
        self.can_talk = both_ways.can_talk()
        self.waiting, self.second = [], 0
        # (second, what to do)
        self.plan = sorted(self.planned(), key=lambda item: item[0])

    def planned(self):
        every = lambda gap, first: (first + n * gap for n in range(int((self.seconds - first) / gap) + 1))
        for second in every(FAULT_EVERY_S, 0.5):
            yield second, self.fault
        for second in every(10, 7):
            yield second, self.reload
        # A minute of an hour; in a shorter run a sixth of it, at most. And briefly at the beginning, while the files
        # of the stores have no room of their own yet.
        full, early = min(60, self.seconds / 6), min(10, self.seconds / 30)
        yield 10, lambda: self.fill(early)
        yield self.seconds / 2, lambda: self.fill(full)
        gap = max(30, self.seconds / 10)
        for second in every(gap, gap / 2):
            if not self.seconds / 2 - 10 < second < self.seconds / 2 + full:
                yield second, self.restart_redis
        if self.can_talk:
            for second in every(20, 11):
                yield second, self.talk

    def run_due(self, second):
        """Does what is due by this second of the run."""
        self.second = second
        while self.plan and self.plan[0][0] <= second:
            self.plan.pop(0)[1]()

    def fault(self):
        rule = {"model": self.dice.choice(MODELS), "times": self.dice.randrange(1, MOST_HITS + 1),
                "fault": self.dice.choice(FAULTS)}
        # What applies to streams only would wait for ever at a model of embeddings.
        if rule["model"] in (configs.TITAN, configs.COHERE):
            rule["fault"] = self.dice.choice(FAULTS[:20])
        self.stage.control("POST", "faults", json.dumps(rule).encode())
        self.faults += 1

    def reload(self):
        gateway = self.dice.choice(self.stage.gateways)
        gateway.reloads += 1
        gateway.write_config()
        gateway.process.popen.send_signal(signal.SIGHUP)

    def restart_redis(self):
        """Ends it, by turns in order and by a kill, and starts it again a while later.

        The thread that starts a process must live as long as that, so this is no work for a thread of its own.
        """
        self.redis_restarts += 1
        self.stage.redis.end(kills=self.redis_restarts % 2 == 0)
        bisect.insort(self.plan, (self.second + self.dice.choice(AWAY_S), self.stage.redis.start), key=lambda it: it[0])

    def fill(self, seconds):
        def full():
            began = time.monotonic()
            while time.monotonic() < began + seconds:
                # What the gateways free, as a file of SQLite that is truncated, is taken again.
                for gateway in self.stage.gateways:
                    gateway.fill_disk()
                time.sleep(1)
            for gateway in self.stage.gateways:
                gateway.clear_disk()
            self.full_s += time.monotonic() - began

        self.aside(full)

    def talk(self):
        self.talks += 1
        gateway = self.dice.choice(self.stage.gateways)
        self.aside(lambda: both_ways.talk(gateway, self.book))

    def aside(self, work):
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.waiting = [it for it in self.waiting if it.is_alive()] + [thread]

    def finish(self):
        """Ends what goes on, and takes back the faults."""
        for thread in self.waiting:
            thread.join(timeout=90)
        if self.stage.redis.is_away:
            self.stage.redis.start()
        self.stage.control("DELETE", "faults")
