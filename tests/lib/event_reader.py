"""A client of /api/events."""

import contextlib
import http.client
import json
import socket
import threading
from urllib.parse import urlsplit

from waiting import wait_until


class Events:
    """Reads in a thread; `seen` is a list of (id, kind, data), `last` where a browser would go on."""

    def __init__(self, node, last=None, token=None):
        self.seen, self.comments, self.ended, self.last = [], 0, False, None
        address = urlsplit(node.http_url())
        self.connection = http.client.HTTPConnection(address.hostname, address.port, timeout=120)
        headers = {"Last-Event-ID": last, "Authorization": token and f"Bearer {token}"}
        self.connection.request("GET", "/api/events", headers={name: value for name, value in headers.items() if value})
        self.answer = self.connection.getresponse()
        self.status = self.answer.status
        if self.status == 200:
            assert self.answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            self.thread = threading.Thread(target=self._read, daemon=True)
            self.thread.start()
        else:
            self.text = self.answer.read().decode()

    def _read(self):
        event = {}
        try:
            for line in self.answer:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if line == b"\n":
                    self.last = event.get("id", self.last)
                    if "data" in event:
                        self.seen.append((event.get("id"), event["event"], json.loads(event["data"])))
                    event = {}
                elif line.startswith(b":"):
                    self.comments += 1
                elif name in ("id", "event", "data"):
                    event[name] = value
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # closed by us
        self.ended = True

    def of(self, kind, **wanted):
        return [data for _, other, data in list(self.seen)
                if other == kind and all(data.get(name) == value for name, value in wanted.items())]

    def wait(self, kind, count=1, limit=20, **wanted):
        wait_until(lambda: len(self.of(kind, **wanted)) >= count, limit, pause=0.1,
                   why=lambda: f"{count} of {kind} {wanted}; seen: {self.seen[-20:]}")
        return self.of(kind, **wanted)

    def ids(self):
        return [place for place, _, _ in list(self.seen) if place is not None]

    def close(self):
        """First for the thread: what it waits in is not to be closed under it."""
        if self.connection.sock is not None:
            with contextlib.suppress(OSError):
                self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.connection.close()
