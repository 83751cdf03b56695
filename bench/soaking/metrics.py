"""Reads /metrics: samples as (name, labels) with their values."""

import re

from .stage import fetch

LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    def __init__(self, gateway):
        self.samples = []
        for line in fetch(gateway.admin, "/metrics").splitlines():
            if line.startswith("#") or not line:
                continue
            name, value = line.rsplit(" ", 1)
            name, _, labels = name.partition("{")
            self.samples.append((name, dict(LABEL.findall(labels)), float(value)))

    def of(self, family, **labels):
        """Labels and values of a family's samples."""
        return [(has, value) for name, has, value in self.samples
                if name == family and all(has.get(key) == wanted for key, wanted in labels.items())]

    def sum(self, family, **labels):
        return sum(value for _, value in self.of(family, **labels))
