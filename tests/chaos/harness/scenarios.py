"""What befalls the fleet, one scenario after the other, and what is asked of it meanwhile."""

import time

from . import fleet, load
from .fleet import FAR, GATEWAYS, NEAR, REDIS, RPM
from .judge import RETURN_S, Away
from .load import SlowChat
from .scenario import CUT_S, Scenario, answers_come, first_answer, rest, sees_redis_go, sees_redis_return
from .spending import FLUSH_S, keeps_to_the_budget, spend_half, spending, spent

LAN = {"delay": 1.0, "jitter": 0.5}
WAN = {"delay": 50.0, "jitter": 20.0, "loss": 0.01, "reorder": 0.01}
# What a gateway that has no Redis may use of the shared quota beside what the others lease.
ITS_SHARE = (CUT_S + RETURN_S) * RPM / 60 / len(GATEWAYS)
UPSTREAM_KINDS = ("converse", "stream", "responses", "chat")


def slow_links(run):
    """Delay and loss between all processes."""
    with Scenario(run, "slow links", "50 ms ± 20 on every link, 1 % of packets lost, 1 % overtaking") as it:
        it.overdraft = 5.0
        run.network.weather(**WAN)
        # A call that takes longer than its limit counts as one to a store, or a target, that is away.
        away = [Away(None, it.began, None), Away(None, it.began, None)]
        run.upstream_away.append(away[0])
        run.redis_away.append(away[1])
        with spending(run, "calm"):
            rest(it.began + 35)
        time.sleep(2 * FLUSH_S)
        keeps_to_the_budget(it, "calm", groups=1, known=0.0)
        run.network.weather(**LAN)
        time.sleep(1)
        away[0].until = away[1].until = time.monotonic()
        ended = run.load.since(it.began)
        answered = [request for request in ended if request.is_answered]
        kept = [request.is_kept for request in answered if request.kind in ("responses", "turn")]
        jobs = [bool(request.job) for request in answered if request.kind == "chat"]
        it.fact(f"{kept.count(False)} of {len(kept)} responses were not kept and {jobs.count(False)} of "
                f"{len(jobs)} chats answered at once, because a call to Redis took longer than its limit")
        usual = [request for request in ended if request.kind in UPSTREAM_KINDS]
        failed = sum(not request.is_answered for request in usual)
        it.must(failed <= len(usual) / 100, f"{failed} of {len(usual)} requests failed")


def one_without_redis(run):
    """One gateway cut from Redis."""
    about = f"no packet between gateway 1 and Redis for {CUT_S:.0f} s"
    with Scenario(run, "one gateway without Redis", about) as it:
        spend_half(run, "one-cut")
        known = spent(run, "one-cut")
        it.overdraft += ITS_SHARE
        away = run.without_redis([0])
        run.claims_lapse.append(away)
        run.network.part([GATEWAYS[0]], [REDIS])
        with spending(run, "one-cut"):
            sees_redis_go(it, [0], CUT_S)
            rest(away.began + CUT_S)
        run.network.heal()
        away.until = time.monotonic()
        sees_redis_return(it, [0])
        time.sleep(2 * FLUSH_S)
        keeps_to_the_budget(it, "one-cut", groups=2, known=known)


def all_without_redis(run):
    """All gateways cut from Redis."""
    about = f"no packet between any gateway and Redis for {CUT_S:.0f} s"
    with Scenario(run, "all gateways without Redis", about) as it:
        spend_half(run, "all-cut")
        known = spent(run, "all-cut")
        gateways = range(len(GATEWAYS))
        away = run.without_redis(gateways)
        run.network.part(GATEWAYS, [REDIS])
        with spending(run, "all-cut"):
            sees_redis_go(it, gateways, CUT_S)
            rest(away.began + CUT_S)
        run.network.heal()
        away.until = time.monotonic()
        sees_redis_return(it, gateways)
        time.sleep(2 * FLUSH_S)
        keeps_to_the_budget(it, "all-cut", groups=3, known=known)


def redis_restarts(run):
    """Redis killed, and started again with what it had on its disk."""
    with Scenario(run, "Redis restarts", "SIGKILL, and started again 3 s later with its data") as it:
        restart(run, it, with_its_data=True)


def redis_restarts_empty(run):
    """Redis killed, and started again without its data."""
    with Scenario(run, "Redis restarts empty", "SIGKILL, and started again 3 s later without its data") as it:
        it.fact(f"jobs of before: {len(run.jobs.accepted())} ended within {run.jobs.settle():.1f} s")
        restart(run, it, with_its_data=False)


def restart(run, it, with_its_data):
    gateways = range(len(GATEWAYS))
    away = run.without_redis(gateways)
    run.fleet.stop_redis(with_its_data)
    rest(away.began + 3)
    if not with_its_data:
        # All that was submitted until now is gone with Redis, and what is kept.
        run.jobs.forget(time.monotonic())
        away.is_emptied = True
    run.fleet.start_redis()
    away.until = time.monotonic()
    sees_redis_return(it, gateways)
    time.sleep(2 * FLUSH_S)


def one_killed(run):
    """A gateway killed amid streams and jobs, and started again."""
    about = "SIGKILL to gateway 2 amid streams and jobs; started again 8 s later"
    with Scenario(run, "a gateway is killed", about) as it:
        workers = [SlowChat(run.load, 1) for _ in range(8)]
        for worker in workers:
            run.load.spawn(worker, 60.0, run.event(after=0.5))
        time.sleep(1)
        at_work = [job for job in run.jobs.accepted() if job.job not in run.jobs.ended]
        away = Away(1, time.monotonic(), None)
        run.dead.append(away)
        run.claims_lapse.append(away)
        run.fleet.kill("gateway 2")
        run.killed.append((1, time.monotonic()))
        others = [0, 2]
        gone = fleet.wait_until("the others notice", lambda: all(replicas(at) == 2 for at in others), 15)
        it.degraded = (gone, gone)
        rest(away.began + 8)
        started = time.monotonic()
        run.fleet.start_gateway(1)
        fleet.wait_until("gateway 2 is ready", lambda: "true" in fleet.admin(GATEWAYS[1], "/readyz"), 20)
        it.back_after(time.monotonic() - started, "gateway 2")
        # A session lives in its process.
        load.open_session(1)
        away.until = time.monotonic()
        sees_redis_return(it, [1])
        broken = [request for request in run.load.since(away.began) if request.gateway == 1
                  and request.began < away.began and not request.is_answered]
        took = run.jobs.settle()
        it.fact(f"{len(broken)} requests broken off, {len(at_work)} jobs under way, all ended {took:.1f} s "
                "after its return")


def replicas(gateway):
    return fleet.metric(fleet.admin(GATEWAYS[gateway], "/metrics"), "sluice_fleet_replicas")


def one_region_away(run):
    """A gateway cut from the region of its first target."""
    about = f"no packet between gateway 3 and the first region for {CUT_S:.0f} s"
    with Scenario(run, "a gateway without its first target", about) as it:
        away = Away(2, time.monotonic(), None)
        run.upstream_away.append(away)
        run.network.part([GATEWAYS[2]], [NEAR])
        it.degraded = (answers_come(it, 2, fleet.FALLBACK, away.began),) * 2
        rest(away.began + CUT_S)
        run.network.heal()
        healed = time.monotonic()
        it.back_after(first_answer(it, 2, fleet.MODEL, healed), "the first target of gateway 3")
        away.until = time.monotonic()


def both_regions_away(run):
    """A gateway cut from the simulator altogether."""
    about = f"no packet between gateway 3 and the simulator for {CUT_S:.0f} s"
    with Scenario(run, "a gateway without any target", about) as it:
        away = Away(2, time.monotonic(), None)
        run.upstream_away.append(away)
        run.network.part([GATEWAYS[2]], [NEAR, FAR])
        rest(away.began + CUT_S)
        refused = [request for request in run.load.since(away.began, "converse") if request.gateway == 2]
        it.must(any(request.status in (408, 503) for request in refused), "no request was refused meanwhile")
        it.fact(f"refused meanwhile with {sorted({request.status for request in refused})}")
        run.network.heal()
        it.back_after(first_answer(it, 2, fleet.MODEL, time.monotonic()), "the first target of gateway 3")
        away.until = time.monotonic()


def one_way(run):
    """Loss in one direction only."""
    for name, about, source, destination in [
        ("to Redis", "packets of gateway 3 to Redis are lost", GATEWAYS[2], REDIS),
        ("from Redis", "packets of Redis to gateway 3 are lost", REDIS, GATEWAYS[2]),
        ("to the first target", "packets of gateway 3 to the first region are lost", GATEWAYS[2], NEAR),
        ("from the first target", "packets of the first region to gateway 3 are lost", NEAR, GATEWAYS[2]),
    ]:
        is_redis = REDIS in (source, destination)
        with Scenario(run, f"one-way loss {name}", f"{about} for {CUT_S - 2:.0f} s") as it:
            if is_redis:
                it.overdraft += ITS_SHARE
                away = run.without_redis([2])
                run.claims_lapse.append(away)
            else:
                away = Away(2, time.monotonic(), None)
                run.upstream_away.append(away)
            run.network.cut([source], [destination])
            if is_redis:
                sees_redis_go(it, [2], CUT_S - 2)
            rest(away.began + CUT_S - 2)
            run.network.heal()
            healed = time.monotonic()
            if is_redis:
                sees_redis_return(it, [2])
            else:
                it.back_after(first_answer(it, 2, fleet.MODEL, healed), "the first target of gateway 3")
            away.until = healed if is_redis else time.monotonic()


ALL = [slow_links, one_without_redis, all_without_redis, redis_restarts, redis_restarts_empty, one_killed,
       one_region_away, both_regions_away, one_way]
SHORT = [one_without_redis, redis_restarts, one_killed]
