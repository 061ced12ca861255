"""Slow and hostile clients: they cost themselves, never a firing and never the next probe."""

import contextlib
import json
import os
import resource
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from waiting import wait_until
from web_client import call


def connect(url):
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=15)


def say(url, text, read=True):
    """What comes back to these bytes, to the end of the connection."""
    with connect(url) as client:
        client.sendall(text if isinstance(text, bytes) else text.encode())
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while read and (piece := client.recv(65536)):
                answer += piece
        return answer


def descriptors(node):
    return len(os.listdir(f"/proc/{node.pid}/fd"))


@pytest.fixture(name="open_files")
def many_open_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_half_open_requests_delay_no_firing_and_no_probe(rota, open_files):
    """Clients that have begun a request and do not go on. Their number is bounded: the oldest make room."""
    rota.apply({"name": "tick", "handler": "noop", "triggers": [{"name": "tick", "every": "1s"}]})
    node = rota.node("n1")
    url = node.http_url()
    before = descriptors(node)
    clients = []
    try:
        for i in range(1000):
            client = connect(url)
            client.sendall(b"" if i % 2 else b"GET /api/task HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            clients.append(client)
            if i % 100 == 0:
                assert call(url, "/healthz").status == 200
        fired = rota.db.execute("SELECT count(*) FROM rota.task_history").fetchone()[0]
        wait_until(lambda: rota.db.execute("SELECT count(*) FROM rota.task_history").fetchone()[0] >= fired + 4, 10,
                   "firings beside them")
        for _ in range(20):
            assert call(url, "/healthz", timeout=2).status == 200
            assert call(url, "/api/task?limit=1", timeout=5).status == 200
        assert descriptors(node) < before + 300
    finally:
        for client in clients:
            client.close()
    late = rota.db.execute("SELECT max(started_at - scheduled_at), sum(missed) FROM rota.task WHERE task = 'tick'").fetchone()
    assert late[0].total_seconds() < 2 and late[1] == 0, late
    wait_until(lambda: descriptors(node) <= before + 2, 10, "their descriptors to be closed")


def test_a_request_that_does_not_end_is_cut_off(rota):
    """Bytes that drip in keep no connection: the time is for the whole request."""
    node = rota.node("n1")
    begun = time.monotonic()
    with connect(node.http_url()) as client:
        client.settimeout(40)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        ended = threading.Event()

        def drip():
            with contextlib.suppress(OSError):
                while not ended.wait(1):
                    client.sendall(b"X-Drip: 1\r\n")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1000) == b""
        finally:
            ended.set()
            dripping.join()
    assert 10 < time.monotonic() - begun < 30


ODD = [
    b"\r\n\r\n\r\n", b"GARBAGE\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET //////// HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /api/task/%2e%2e%2f HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n", b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,
    b"POST /api/task HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
    b"POST /api/task HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/task HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"POST /api/task HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


def test_what_is_no_http_is_answered_or_cut_and_hurts_nobody(rota):
    node = rota.node("n1")
    url = node.http_url()
    for text in ODD:
        with connect(url) as client:
            client.settimeout(3)
            with contextlib.suppress(OSError):
                client.sendall(text)
                client.shutdown(socket.SHUT_WR)
                answer = client.recv(65536)
                assert answer == b"" or answer.startswith(b"HTTP/1."), (text[:60], answer[:100])
                assert not answer.startswith((b"HTTP/1.1 500", b"HTTP/1.0 500")), (text[:60], answer[:200])
        assert call(url, "/healthz").status == 200, text[:60]
    assert node.lives() and not node.lines(level="error")


def test_requests_in_one_go_are_answered_in_their_order(rota):
    node = rota.node("n1")
    answer = say(node.http_url(), "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3
                 + "GET /api/task/unique-tasks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 4 and answer.endswith(b"[]")


def test_clients_that_go_in_the_middle_leave_nothing(rota):
    """Before the answer, within it, while it is read slowly: every descriptor and request is given back."""
    rota.db.execute("SELECT rota.history_ensure(2)")
    rota.db.execute("INSERT INTO rota.task_history (id, task, started_at, ended_at, duration_ms, status, outcome, attempt, "
                    "scheduled_at, task_details) SELECT g, 'many', now(), now(), 1, 'success', 'success', 1, now(), "
                    "json_build_object('x', repeat(md5(g::text), 30)) FROM generate_series(1, 20000) g")
    node = rota.node("n1", "--standby", ready=False)
    url = node.http_url()
    wait_until(lambda: node.http("/readyz")[1] == "standing by\n", 15, "it to stand by")
    before = descriptors(node)
    for size in (0, 1, 1000, 100000, 1000000):
        for _ in range(5):
            with connect(url) as client:
                client.sendall(b"GET /api/task HTTP/1.1\r\nHost: localhost\r\n\r\n")
                got = 0
                while got < size:
                    got += len(client.recv(65536))
    assert len(call(url, "/api/task").json["data"]) == 20000
    wait_until(lambda: descriptors(node) <= before, 10, "their descriptors to be closed")


@pytest.mark.skipif(os.environ.get("ROTA_TEST_SANITIZED") == "1", reason="sanitizers keep what was freed")
def test_a_slow_reader_costs_a_page_and_no_more(rota):
    rota.db.execute("SELECT rota.history_ensure(2)")
    rota.db.execute("INSERT INTO rota.task_history (id, task, started_at, ended_at, duration_ms, status, outcome, attempt, "
                    "scheduled_at, task_details) SELECT g, 'many', now(), now(), 1, 'success', 'success', 1, now(), "
                    "json_build_object('x', repeat(md5(g::text), 30)) FROM generate_series(1, 50000) g")
    node = rota.node("n1", "--standby", ready=False)
    url = node.http_url()
    wait_until(lambda: node.http("/readyz")[1] == "standing by\n", 15, "it to stand by")

    def memory_kib():
        with open(f"/proc/{node.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("RssAnon:"))

    call(url, "/api/task?limit=1000")
    before = memory_kib()
    clients = [connect(url) for _ in range(10)]
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /api/task HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.recv(1000)
    assert call(url, "/healthz").status == 200 and call(url, "/api/task/7").status == 200
    assert memory_kib() < before + 10 * 6 * 1024, (before, memory_kib())  # of about 55 MB for each
    for client in clients:
        client.close()


def test_without_its_database_it_says_so_and_goes_on(rota, make_rota):
    node = rota.node("n1", database_url="host=/nowhere dbname=x connect_timeout=1", ready=False)
    answer = wait_until(lambda: call(node.http_url(), "/api/task"), 5, "an answer")
    assert answer.status == 503 and json.loads(answer.body) == {"message": "The database cannot be reached."}
    assert call(node.http_url(), "/healthz").status == 200
    node.stop()
