"""The handler `http`: what is sent, what comes of each answer, and where it does not go."""

import hashlib
import hmac
import json
import os
import ssl
import subprocess
import threading
import time

import pytest

from waiting import wait_until
from web import Web

LOCAL = '["127.0.0.1"]'
SECRET = "s3cr3t-of-the-hook"


@pytest.fixture
def web():
    server = Web()
    yield server
    server.close()


def job(name="job", **more):
    return {"name": name, "handler": "http", "durable": True, **more}


def go(rota, **data):
    """One run of a new job with this data, to its end."""
    name = f"job{time.monotonic_ns()}"
    rota.apply(job(name, data=data), source=name)
    return rota.wait_history(*rota.enqueue(name))


def test_a_request_carries_what_its_data_say_and_which_run_it_is(rota, web):
    rota.node(http_allow=LOCAL)
    rota.apply(job(data={"url": [f"{web.url}/customers/", {"$pointer": "/data/customer"}, "/orders"],
                         "query": {"n": 3, "text": {"$pointer": "/data/text"}}, "customer": "none", "text": "",
                         "headers": {"X-Job": {"$pointer": "/job"}, "Accept": "text/plain"},
                         "body": {"big": 1234567890123456789, "who": {"$pointer": "/data/customer"},
                                  "list": [{"$pointer": "/data/any"}, {"$pointer": "/data/no", "default": None}]},
                         "any": {"as": ["it", "is"], "$pointer": "/id"}}))
    run, = rota.enqueue("job", "--data", json.dumps({"customer": "a/../b c", "text": "x&y=z#?\r\nX: y"}))
    row = rota.wait_history(run)
    assert row["status"] == "success", row
    assert row["details"] == {"status": 200, "headers": {}, "body": "ok", "body_truncated": False, "redirects": 0}
    request, = web.requests
    assert request["method"] == "POST"
    assert request["path"] == "/customers/a%2F..%2Fb%20c/orders?n=3&text=x%26y%3Dz%23%3F%0D%0AX%3A%20y"
    assert '"big":1234567890123456789' in request["body"].replace(" ", "")
    assert json.loads(request["body"]) == {"big": 1234567890123456789, "who": "a/../b c",
                                           "list": [{"as": ["it", "is"], "$pointer": "/id"}, None]}
    headers = request["headers"]
    assert headers["Idempotency-Key"] == headers["X-Rota-Run"] == str(run) and headers["X-Rota-Attempt"] == "1"
    assert int(headers["X-Rota-Fence"]) > 0 and headers["Content-Type"] == "application/json"
    assert headers["X-Job"] == "job" and headers["User-Agent"].startswith("rota/") and headers["Accept"] == "text/plain"
    assert not {"Expect", "X", "Cookie", "Authorization"} & set(headers)


def test_each_status_ends_the_run_as_it_should(rota, web):
    rota.node(http_allow=LOCAL)
    cases = {200: "success", 204: "success", 404: "failed", 503: "failed", 429: "failed", 301: "failed", 418: "failed"}
    for status in cases:
        web.status(f"/{status}", status, "" if status == 204 else "said", Location="/else", Retry_After="7")
        rota.apply(job(f"j{status}", data={"url": f"{web.url}/{status}", "expect": ["2xx", 418]} if status == 418 else
                       {"url": f"{web.url}/{status}"}, retry={"max_attempts": 2, "initial": "1ms", "max": "1ms"}),
                   source=f"s{status}")
    rows = {status: rota.wait_history(*rota.enqueue(f"j{status}")) for status in cases}
    assert rows.pop(418)["status"] == "success"
    assert {status: row["status"] for status, row in rows.items()} == {s: c for s, c in cases.items() if s != 418}
    # only what may be otherwise the next time is tried again
    assert {status: row["attempt"] for status, row in rows.items()} == {200: 1, 204: 1, 404: 1, 503: 2, 429: 2, 301: 1}
    details = rows[503]["details"]
    assert details["exception"] == "status 503" and details["original-info"]["status"] == 503
    assert details["original-info"]["headers"]["retry-after"] == "7" and details["original-info"]["body"] == "said"
    assert "follow" in rows[301]["details"]["message"]


def test_redirects_are_followed_as_often_as_allowed_and_take_no_secret_elsewhere(rota, web, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", SECRET)
    other = Web()
    try:
        rota.node(http_allow=LOCAL, secret_env="HOOK_*")
        web.redirect("/a", "/b", 307)
        web.redirect("/b", f"{other.url}/c", 302)
        web.redirect("/loop", "/loop")
        web.redirect("/file", "file:///etc/passwd")
        web.redirect("/user", f"http://me:pw@127.0.0.1:{web.port}/")
        web.redirect("/inside", "http://127.0.0.2:1/")
        headers = {"Authorization": {"env": "HOOK_KEY", "prefix": "Bearer "}, "X-Key": {"env": "HOOK_KEY"},
                   "X-Plain": "p", "Content-Language": "de"}
        row = go(rota, url=f"{web.url}/a", follow=2, headers=headers, body="text",
                 sign={"secret": {"env": "HOOK_KEY"}})
        assert row["status"] == "success" and row["details"]["redirects"] == 2
        again, = web.taken("/b")
        assert again["method"] == "POST" and again["body"] == "text" and again["headers"]["X-Key"] == SECRET
        assert "X-Rota-Signature" in again["headers"]
        last, = other.taken("/c")
        assert last["method"] == "GET" and last["body"] == "" and last["headers"]["X-Plain"] == "p"
        assert not {"Authorization", "X-Key", "X-Rota-Signature", "Content-Type", "Content-Language"} & set(last["headers"])
        assert go(rota, url=f"{web.url}/loop", follow=3)["details"]["exception"] == "status 302"
        assert len(web.taken("/loop")) == 4
        for path, why in (("/file", "https:// or http://"), ("/user", "user or password"), ("/inside", "http_allow")):
            details = go(rota, url=f"{web.url}{path}", follow=3)["details"]
            assert details["exception"] in ("redirect refused", "target refused") and why in details["message"]
    finally:
        other.close()


def test_a_signature_is_over_time_and_body_and_the_secret_is_nowhere(rota, web, tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", SECRET)
    (tmp_path / "token").write_text("t0ken-in-a-file\n")
    web.paths["/echo"] = lambda handler, request: web.answer(
        handler, 500, json.dumps(request["headers"]), Location=request["headers"]["X-Token"])
    node = rota.node(http_allow=LOCAL, secret_env="HOOK_*", secret_files=f"{tmp_path}/*", log_level="debug",
                     exec_allow="/bin/*")
    gate = threading.Event()
    web.silent("/wait", gate)
    headers = {"X-Token": {"file": str(tmp_path / "token")}, "Authorization": {"env": "HOOK_KEY", "prefix": "Bearer "}}
    sign = {"secret": {"env": "HOOK_KEY"}, "header": "X-Hook-Signature"}
    row = go(rota, url=f"{web.url}/echo", headers=headers, body={"a": 1.0}, sign=sign)
    request, = web.taken("/echo")
    assert request["headers"]["X-Token"] == "t0ken-in-a-file"
    assert request["headers"]["Authorization"] == f"Bearer {SECRET}"
    stamp, code = (part.split("=")[1] for part in request["headers"]["X-Hook-Signature"].split(","))
    assert abs(int(stamp) - time.time()) < 60
    assert code == hmac.new(SECRET.encode(), f"{stamp}.{request['body']}".encode(), hashlib.sha256).hexdigest()

    # while a request with it is under way: arguments, environment of jobs, history, log, other tables
    rota.apply(job("waits", data={"url": f"{web.url}/wait", "headers": headers, "sign": sign}), source="waits")
    waiting, = rota.enqueue("waits")
    wait_until(lambda: web.taken("/wait"), 10)
    rota.apply({"name": "env", "handler": "exec", "durable": True, "data": {"command": ["/bin/cat", "/proc/self/environ"]}},
               source="env")
    seen = rota.wait_history(*rota.enqueue("env"))["raw"]
    for process in node.workers():
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            seen += file.read().decode(errors="replace")
    gate.set()
    seen += row["raw"] + rota.wait_history(waiting)["raw"] + node.text()
    seen += str(rota.rows("SELECT to_jsonb(j) FROM rota.job j"))
    assert "***" in row["raw"]
    for secret in (SECRET, "t0ken-in-a-file"):
        assert secret not in seen


def test_no_part_of_a_secret_is_kept_where_a_text_is_cut_or_secrets_overlap(rota, web, monkeypatch):
    monkeypatch.setenv("HOOK_SHORT", SECRET[:6])
    monkeypatch.setenv("HOOK_LONG", SECRET)
    body = b"x" * (8192 - 12) + SECRET.encode() + b"y" * 100
    web.paths["/body"] = lambda handler, request: web.answer(
        handler, 200, body, Location="http://h/" + "z" * 230 + SECRET)
    web.paths["/both"] = lambda handler, request: web.answer(handler, 200, f"<{SECRET}>".encode())
    rota.node(http_allow=LOCAL, secret_env="HOOK_*")
    short, long = {"X-Short": {"env": "HOOK_SHORT"}}, {"X-Long": {"env": "HOOK_LONG"}}
    row = go(rota, url=f"{web.url}/body", headers=long)
    assert row["details"]["body"] == "x" * (8192 - 12) + "*" * 12 and row["details"]["body_truncated"] is True
    assert row["details"]["headers"]["location"] == "http://h/" + "z" * 230 + "*" * 11
    for headers in ({**short, **long}, {**long, **short}):
        assert go(rota, url=f"{web.url}/both", headers=headers)["details"]["body"] == f"<{'*' * len(SECRET)}>"


def test_secrets_no_setting_names_are_refused_with_the_setting(rota, web, tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", SECRET)
    (tmp_path / "link").symlink_to("/etc/passwd")
    node = rota.node(http_allow=LOCAL, secret_env="OTHER_*:UNSET", secret_files=f"{tmp_path}/a/*")
    for secret, why in (({"env": "HOOK_KEY"}, "secret_env"), ({"env": "UNSET"}, "UNSET is not set"),
                        ({"file": "/etc/passwd"}, "secret_files"), ({"file": f"{tmp_path}/a/../link"}, "secret_files"),
                        ({"file": f"{tmp_path}/a/no"}, "No such file"), ({"env": "A", "file": "/b"}, "one of"),
                        ({"env": 1}, "a secret is"), ({"env": "A", "more": "b"}, "a secret is")):
        details = go(rota, url=web.url, headers={"X-Key": secret})["details"]
        assert details["exception"] == "bad data" and why in details["message"], details
    assert not web.requests and SECRET not in node.text()


def test_private_targets_are_refused_by_any_spelling(rota, web):
    rota.node("n1", http_allow="10.1.0.0/16")
    port = web.port
    for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "[::1]", "[::]",
                 "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "169.254.169.254",
                 "192.168.0.1", "100.100.100.200", "LOCALHOST", "localhost."):
        row = go(rota, url=f"http://{host}:{port}/")
        details = row["details"]
        refused = details["exception"] == "target refused" and "http_allow" in details["message"]
        assert row["status"] == "failed" and (refused or "cannot resolve" in details["message"]), (host, details)
    for url, why in ((f"http://u:p@127.0.0.1:{port}/", "user or password"), ("file:///etc/passwd", "https:// or http://"),
                     ("gopher://127.0.0.1/", "https:// or http://"), (f"http://127.0.0.1:{port}/\r\nX: y", "control"),
                     ("no url", "spaces"), ("http://[fe80::1%25eth0]/", "zone"), ("http://h\u00f6st/", "ASCII"),
                     (f"http://127.0.0.1:{port}@10.1.1.1/", "user or password")):
        details = go(rota, url=url)["details"]
        assert details["exception"] == "bad data" and why in details["message"], (url, details)
    assert not web.requests


def test_a_host_that_is_allowed_by_name_is_reached(rota, web, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    rota.node(http_allow="local*")
    assert go(rota, url=f"http://localhost:{web.port}/")["status"] == "success"
    assert "http_allow" in go(rota, url=f"{web.url}/")["details"]["message"]


def test_certificates_are_verified(rota, web, tmp_path, monkeypatch):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    web.server.socket = context.wrap_socket(web.server.socket, server_side=True, do_handshake_on_connect=False)
    node = rota.node("n1", http_allow='["127.0.0.1", "localhost"]')
    details = go(rota, url=f"https://localhost:{web.port}/")["details"]
    assert details["exception"] == "network" and "certificate" in details["message"].lower(), details
    assert node.stop() == 0
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
    rota.node("n2", http_allow='["127.0.0.1", "localhost"]')
    assert go(rota, url=f"https://localhost:{web.port}/")["status"] == "success"
    details = go(rota, url=f"https://127.0.0.1:{web.port}/")["details"]
    assert details["exception"] == "network", "the certificate is for another name"
    assert len(web.requests) == 1


def test_no_header_becomes_two(rota, web):
    rota.node(http_allow=LOCAL)
    for headers in ({"X-A": "a\r\nX-B: b"}, {"X-A\r\nX-B": "b"}, {"X-A:": "a"}, {"": "a"}, {"Host": "else"},
                    {"content-length": "3"}, {"X-A": "a\u0000b"}, {"X-A": {"$pointer": "/data/evil"}}):
        details = go(rota, url=web.url, headers=headers, evil="a\nb")["details"]
        assert details["exception"] == "bad data" and '"headers"' in details["message"], details
    assert not web.requests


def test_servers_that_misbehave_cost_their_own_run_only(rota, web):
    gate = threading.Event()
    rota.node(http_allow=LOCAL, slots=40)
    web.silent("/silent", gate)
    web.endless("/endless")
    web.endless("/binary", b"\0\x01\xff" * 20000)
    web.raw("/garbage", b"\x16\x03\x01 no http at all\n\n")
    web.raw("/half", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    web.raw("/headers", b"HTTP/1.1 200 OK\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 20000)
    web.raw("/drip", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2000, pause=0.05)
    web.status("/huge", 200, "\u00e4" * 1000000)
    cases = {"/silent": ("timeout", "no answer"), "/drip": ("timeout", "did not end"), "/garbage": ("network", ""),
             "/half": ("network", ""), "/headers": ("network", ""), "/endless": None, "/binary": None, "/huge": None}
    for path in cases:
        rota.apply(job(path[1:], data={"url": web.url + path, "timeout": "2s"}), source=path[1:])
    runs = {path: rota.enqueue(path[1:])[0] for path in cases}
    for path, wanted in cases.items():
        row = rota.wait_history(runs[path])
        if wanted is None:
            assert row["status"] == "success" and row["details"]["body_truncated"] is True, (path, row)
            assert len(row["raw"]) < 32000 and row["details"]["body"], path
        else:
            assert row["details"]["exception"] == wanted[0] and wanted[1] in row["details"]["message"], (path, row)
    assert set(rota.history(runs["/huge"])["details"]["body"]) == {"\u00e4"}, "cut between characters"
    gate.set()
    row = go(rota, url=f"http://127.0.0.1:{closed_port()}/")
    assert row["details"]["exception"] == "network"


def closed_port():
    server = Web()
    server.close()
    return server.port


def test_64_requests_are_out_at_once_in_one_process(rota, web):
    gate = threading.Event()
    web.silent("/wait", gate)
    node = rota.node(http_allow=LOCAL, slots=65)
    rota.apply(job("slow", data={"url": f"{web.url}/wait"}), job("quick", data={"url": f"{web.url}/quick"}))
    runs = rota.enqueue("slow", "--count", "64")
    wait_until(lambda: web.most_at_once >= 64, 20)
    began = time.monotonic()
    assert rota.wait_history(*rota.enqueue("quick"))["status"] == "success"
    assert time.monotonic() - began < 5
    gate.set()
    assert {rota.wait_history(run)["status"] for run in runs} == {"success"}
    assert len(node.lines("worker ready")) == 1
    assert os.path.isdir(f"/proc/{node.worker_pids()[0]}")


def test_a_run_whose_time_is_over_is_ended_and_its_connection_closed(rota, web):
    gate = threading.Event()
    closed = threading.Event()

    def serve(handler, request):
        handler.connection.settimeout(30)
        if handler.connection.recv(1) == b"":
            closed.set()
        handler.close_connection = True

    web.paths["/wait"] = serve
    rota.node(http_allow=LOCAL)
    rota.apply(job(data={"url": f"{web.url}/wait"}, timeout="500ms"))
    row = rota.wait_history(*rota.enqueue("job"))
    assert row["outcome"] == "timeout" and closed.wait(10)
    gate.set()


def test_bad_data_say_what_would_be_right(rota, web):
    rota.node(http_allow=LOCAL)
    for data, why in (({}, '"url" is missing'), ({"url": 1}, '"url" must be a text'), ({"url": []}, '"url" must be'),
                      ({"url": [{"$pointer": "/job"}]}, "first part"), ({"url": ["http://a", "b/"]}, "first part"),
                      ({"url": [web.url + "/", {"$pointer": "/data/up"}], "up": ".."}, "must not be ."),
                      ({"url": web.url, "method": "get"}, '"method"'), ({"url": web.url, "method": "CONNECT"}, '"method"'),
                      ({"url": web.url, "method": "HEAD", "body": ""}, "HEAD has no body"),
                      ({"url": web.url, "expect": []}, '"expect"'), ({"url": web.url, "expect": ["9xx"]}, '"expect"'),
                      ({"url": web.url, "expect": [20]}, '"expect"'), ({"url": web.url, "timeout": 3}, '"timeout"'),
                      ({"url": web.url, "follow": 11}, '"follow"'), ({"url": web.url, "max_response": -1}, '"max_response"'),
                      ({"url": web.url, "query": []}, '"query"'), ({"url": web.url, "query": {"a": []}}, '"query": a'),
                      ({"url": web.url, "headers": []}, '"headers"'), ({"url": web.url, "sign": {"secret": "x"}}, '"sign"'),
                      ({"url": web.url, "body": {"a": {"$pointer": "/data/no"}}}, "/data/no names nothing"),
                      ({"url": web.url, "body": {"$pointer": "data"}}, "a pointer is")):
        details = go(rota, **data)["details"]
        assert details["exception"] == "bad data" and why in details["message"], (data, details)
    assert not web.requests


def test_settings_that_make_no_sense_are_refused_at_the_start(rota):
    for settings, why in (({"http_allow": "10.0.0.0/33"}, "10.0.0.0/33"), ({"http_allow": "Host"}, "Host"),
                          ({"http_allow": '["http://x"]'}, "http://x")):
        done = rota.run("node", check=False, **settings)
        assert done.returncode == 1 and "http_allow" in done.stderr and why in done.stderr, done.stderr


def test_a_program_gets_secrets_in_its_environment_where_that_is_allowed(rota, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", SECRET)
    monkeypatch.setenv("OTHER", SECRET)
    node = rota.node(exec_allow="/bin/*", secret_env="HOOK_*")

    def run(value):
        name = f"job{time.monotonic_ns()}"
        rota.apply({"name": name, "handler": "exec", "durable": True, "data": {
            "command": ["/bin/sh", "-c", "printf %s \"$KEY\" | sha256sum"], "env": {"KEY": value}}}, source=name)
        return rota.wait_history(*rota.enqueue(name))

    wanted = hashlib.sha256(f"key {SECRET}".encode()).hexdigest()
    row = run({"env": "HOOK_KEY", "prefix": "key "})
    assert row["details"]["output"].split()[0] == wanted and SECRET not in row["raw"] + node.text()
    refused = run({"env": "OTHER"})["details"]
    assert "env: KEY" in refused["message"] and "secret_env" in refused["message"]
    assert "must be a string" in run({"pointer": "x"})["details"]["message"]
