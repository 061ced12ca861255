"""What a node answers under /metrics, read as a scraper reads it."""

import re
import urllib.request

SAMPLE = re.compile(r'^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def fetch(node, accept=None):
    """Text and content type."""
    request = urllib.request.Request(node.http_url() + "/metrics", headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def parse(text):
    """{(name, ((label, value), …)): number}; each sample once, and nothing that is no sample."""
    samples = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        found = SAMPLE.match(line)
        assert found, line
        key = (found["name"], tuple(sorted(LABEL.findall(found["labels"] or ""))))
        assert key not in samples, line
        samples[key] = float(found["value"])
    return samples


class Numbers:
    """One scrape."""

    def __init__(self, node):
        self.text, _ = fetch(node)
        self.samples = parse(self.text)

    def get(self, name, **labels):
        return self.samples.get((name, tuple(sorted(labels.items()))))

    def all(self, name):
        return {labels: value for (other, labels), value in self.samples.items() if other == name}


def families(text):
    """{name: (type, help)}"""
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.M))
    return {name: (kind, helps.get(name)) for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)}
