"""The Markdown of a run: what was done, what grew, what the books say, and the verdict."""

from . import configs
from .samples import limits

# What may be open at the end and was not before the first request, and why.
EXPLAINED = {}


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
    yield ""


def seconds(run):
    return run.args.minutes * 60


def about(run):
    done = run.disturbance
    yield f"## Soak: {run.args.minutes:g} minutes, seed {run.args.seed}\n"
    yield f"`{run.command}`\n"
    yield from table(["what", "figure"], [
        ["requests of Bedrock's, OpenAI's and Anthropic's APIs", sum(run.clients.sent.values())],
        ["of them given up half-way", sum(run.clients.left.values())],
        ["calls that the simulator got", run.ledger.calls.count],
        ["rules of faults, each for up to 3 calls", done.faults],
        ["reloads with another config", sum(gateway.reloads for gateway in run.stage.gateways)],
        ["restarts of Redis, half of them by a kill", done.redis_restarts],
        ["bidirectional streams", done.talks if done.can_talk else "none: there is no curl with HTTP/2"],
        ["seconds with full disks", round(done.full_s)],
        ["jobs accepted; answered without a job", f"{sum(run.jobs.accepted.values())}; "
                                                   f"{sum(run.jobs.synchronous.values())}"],
        ["CPU of client, gateways and simulator, share of one core", f"{run.cpu_share:.0%}"],
    ])


def kinds(run):
    yield "### Requests\n"
    of_kind = {}
    for (kind, seen), count in run.clients.kinds.items():
        of_kind.setdefault(kind, {})[seen] = count
    rows = [[kind, sum(seen.values()), ", ".join(f"{what}: {count}" for what, count in
                                                  sorted(seen.items(), key=lambda item: -item[1]))]
            for kind, seen in sorted(of_kind.items())]
    yield from table(["kind", "sent", "what the client saw"], rows)


def growth(run):
    yield "### Growth\n"
    yield (f"A straight line by least squares through {run.sampled} samples after the first quarter. A measure is flat "
           f"if the line rises by no more than its limit over these {seconds(run) * 0.75 / 60:g} minutes.\n")
    rows, most = [], limits(run.args.minutes)
    for gateway in configs.GATEWAYS:
        for measure, line in run.lines[gateway].items():
            rows.append([gateway, measure, f"{line.first:.0f}, {line.last:.0f}", f"{line.low:.0f} to {line.high:.0f}",
                         f"{line.per_hour:+.1f}", f"{line.rise:+.1f}", most[measure],
                         "yes" if line.rise <= most[measure] else "**no**"])
    head = ["gateway", "measure", "after a quarter, at the end", "range", "slope an hour", "rise", "limit", "flat"]
    yield from table(head, rows)


def open_things(run):
    yield "### Open at the end\n"
    yield "Descriptors before the first request and after the last, by what they are:\n"
    rows = []
    for gateway in configs.GATEWAYS:
        before, after = run.descriptors[gateway]
        for kind in sorted(set(before) | set(after)):
            more = after[kind] - before[kind]
            why = EXPLAINED.get(kind, "**not explained**") if more > 0 else ""
            rows.append([gateway, kind, before[kind], after[kind], why])
        rows.append([gateway, "all", sum(before.values()), sum(after.values()), ""])
    yield from table(["gateway", "descriptor", "before", "after", "why more"], rows)
    rows = [[gateway, *run.tasks[gateway]] for gateway in configs.GATEWAYS]
    yield from table(["gateway", "tasks before", "tasks after"], rows)
    yield f"Left open: {run.left or 'nothing'}.\n"


def books(run):
    yield "### Books\n"
    rows = [[check.name, check.one, check.other, "yes" if check.passes() else "**NO**", check.reason]
            for check in run.checks]
    yield from table(["what", "one book", "the other", "agree", "about it"], rows)
    yield "Where the simulator's tokens went that no answer reported, by how gateway and simulator saw the attempt:\n"
    rows = [[*key, sums.count, sums.tokens["input"], sums.tokens["output"]]
            for key, sums in sorted(run.ledger.untold.items()) if sums.tokens["input"] or sums.tokens["output"]]
    rows += [["no head for the gateway", head + " at the simulator", ending, fault, sums.count,
              sums.tokens["input"], sums.tokens["output"]]
             for (fault, ending, head), sums in sorted(run.ledger.unpaired_entries().items())]
    yield from table(["attempt", "request", "end at the simulator", "fault", "calls", "input", "output"], rows)


def unexplained(run):
    """Descriptors that are more than before, without a reason."""
    return [f"{gateway}: {more} more of {kind}" for gateway in configs.GATEWAYS
            for kind, more in ((kind, run.descriptors[gateway][1][kind] - run.descriptors[gateway][0][kind])
                               for kind in run.descriptors[gateway][1])
            if more > 0 and kind not in EXPLAINED]


def faults_of(run):
    """What is not as it must be."""
    most = limits(run.args.minutes)
    found = [f"{gateway}: {measure} grows" for gateway in configs.GATEWAYS
             for measure, line in run.lines[gateway].items() if line.rise > most[measure]]
    found += [f"books: {check.name}" for check in run.checks if not check.passes()]
    found += unexplained(run)
    found += [f"{gateway}: {after - before} tasks more than before" for gateway, (before, after) in run.tasks.items()
              if after > before]
    return found + ([f"left open: {run.left}"] if run.left else [])


def markdown(run):
    """The report, and what is wrong."""
    wrong = faults_of(run)
    lines = [*about(run), *kinds(run), *growth(run), *open_things(run), *books(run), "### Verdict\n"]
    lines += [f"- {line}" for line in wrong] or ["Everything is flat, and all books agree."]
    return "\n".join(lines), wrong
