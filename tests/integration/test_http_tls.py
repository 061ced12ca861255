"""TLS of the HTTP API: certificates from files, read again on SIGHUP; old protocols and bad files are refused."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
from urllib.parse import urlsplit

import pytest

from waiting import wait_until
from web_client import call


def make(directory, name):
    """A certificate of its own for this machine: (cert, key)."""
    cert, key = os.path.join(directory, f"{name}.pem"), os.path.join(directory, f"{name}.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


def trusting(cert, **versions):
    context = ssl.create_default_context(cafile=cert)
    for name, version in versions.items():
        setattr(context, name, version)
    return context


@pytest.fixture(name="tls")
def node_with_tls(rota, tmp_path):
    cert, key = make(tmp_path, "first")
    node = rota.node("n1", "--standby", ready=False, http_tls_cert=cert, http_tls_key=key)
    wait_until(lambda: node.lines("http listening"), 15, "it to listen")
    url = node.http_url()
    assert url.startswith("https://")
    wait_until(lambda: call(url, "/readyz", context=trusting(cert)).text == "standing by\n", 15, "it to stand by")
    return node, url, cert, key


def served(url):
    parts = urlsplit(url)
    return ssl.get_server_certificate((parts.hostname, parts.port), timeout=5).split()


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read().split()


def test_answers_short_and_long_come_over_tls(rota, tls):
    _, url, cert, _ = tls
    rota.db.execute("INSERT INTO rota.task_history (id, task, started_at, ended_at, duration_ms, status, outcome, attempt, "
                    "scheduled_at) SELECT g, 'many', now(), now(), 1, 'success', 'success', 1, now() FROM generate_series(1, 5000) g")
    context = trusting(cert)
    answer = call(url, "/api/task", context=context)
    assert len(answer.json["data"]) == 5000 and answer.headers["strict-transport-security"]
    rota.apply({"name": "a", "handler": "noop", "durable": True})
    assert call(url, "/api/jobs/a/enqueue", "POST", {"data": {"x": "y" * 200000}}, context=context).status == 200
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        limited = trusting(cert, minimum_version=version, maximum_version=version)
        assert call(url, "/healthz", context=limited).status == 200


def test_old_protocols_and_plain_http_are_refused(tls):
    node, url, cert, _ = tls
    with pytest.warns(DeprecationWarning), pytest.raises((ssl.SSLError, OSError)):
        old = trusting(cert, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
        old.set_ciphers("ALL:@SECLEVEL=0")
        call(url, "/healthz", context=old)
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as client, contextlib.suppress(ConnectionResetError):
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not client.recv(1000).startswith(b"HTTP/1.1 200")
    assert call(url, "/healthz", context=trusting(cert)).status == 200 and node.lives()


def test_a_new_certificate_is_taken_on_sighup_and_a_bad_one_is_not(tls, tmp_path):
    node, url, cert, key = tls
    assert served(url) == read(cert)
    new_cert, new_key = make(tmp_path, "second")
    with open(cert, "w", encoding="ascii") as file:
        file.write("no certificate")
    node.send(signal.SIGHUP)
    node.wait_for_line("http certificate stays as it was")
    assert call(url, "/healthz", context=ssl._create_unverified_context()).status == 200
    os.replace(new_cert, cert)
    node.send(signal.SIGHUP)
    node.wait_for_line("http certificate stays as it was", count=2)  # the key is the old one's
    os.replace(new_key, key)
    node.send(signal.SIGHUP)
    node.wait_for_line("http certificate read again")
    assert served(url) == read(cert) and node.lives()


@pytest.mark.parametrize("cert, key, part", [("first.pem", "none.key", "none.key"), ("none.pem", "first.key", "none.pem"),
                                             ("first.key", "first.key", "http_tls_cert"), ("first.pem", None, "http_tls_key is not given"),
                                             (None, "first.key", "http_tls_cert is not given"),
                                             ("first.pem", "other.key", "http_tls_key")])
def test_files_that_cannot_be_used_end_the_start_with_their_name(rota, tmp_path, cert, key, part):
    make(tmp_path, "first")
    make(tmp_path, "other")
    settings = {name: os.path.join(tmp_path, value) for name, value in (("http_tls_cert", cert), ("http_tls_key", key)) if value}
    node = rota.node("n1", ready=False, **settings)
    assert node.wait(15) in (1, 2)
    line, = node.lines("cannot start")
    assert part in line["error"]


def test_half_open_handshakes_do_not_keep_others_out(tls):
    _, url, cert, _ = tls
    parts = urlsplit(url)
    clients = []
    try:
        for i in range(300):
            clients.append(socket.create_connection((parts.hostname, parts.port), timeout=10))
            if i % 2:
                clients[-1].sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert call(url, "/healthz", context=trusting(cert)).status == 200
    finally:
        for client in clients:
            client.close()
