"""Medians, spread and ratios, and the table that they make."""

import statistics

HEAD = ["work", "measure", "gateway", "against", "result", "goal", "met"]


def spread(values, digits=1):
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def cpu(samples):
    return [sample.cpu_us for sample in samples]


def ratios(over, under):
    """Round by round."""
    return [a / b for a, b in zip(over, under)]


def differences(over, under):
    return [a - b for a, b in zip(over, under)]


class Result:
    """One line: `values` are held against the goal by their median; without one it is for information.

    `short_of` says what of the goal's own terms was not measured: then it can't be met.
    """

    def __init__(self, work, measure, gateway, against, values, digits=2, unit="",
                 at_most=None, at_least=None, short_of=""):
        self.cells = [work, measure, gateway, against, spread(values, digits) + unit]
        middle = statistics.median(values)
        if at_most is not None:
            self.cells.append(f"at most {at_most}{unit}")
            self.met = middle <= at_most
        elif at_least is not None:
            self.cells.append(f"at least {at_least}{unit}")
            self.met = middle >= at_least
        else:
            self.cells.append("")
            self.met = None
        self.short_of = short_of

    def line(self):
        met = {True: "met", False: "**not met**", None: ""}[self.met]
        if self.short_of:
            met = f"**not shown**: {self.short_of}"
        return "| " + " | ".join([*self.cells, met]) + " |"


def skipped(work, measure, why):
    return f"| {work} | {measure} | | | skipped: {why} | | not measured |"


def failed(name, why):
    return f"| {name} | | | | failed: {' '.join(str(why).split())[:200]} | | not measured |"


def markdown(results):
    lines = ["| " + " | ".join(HEAD) + " |", "|" + " --- |" * len(HEAD)]
    lines += [result if isinstance(result, str) else result.line() for result in results]
    return "\n".join(lines)
