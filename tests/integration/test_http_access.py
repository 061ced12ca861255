"""Who may use the HTTP API: tokens and scopes for every route, guessing, other sites, other machines."""

import hashlib
import json
import re
import socket

import pytest

from fleet import Rota, command
from waiting import wait_until
from web_client import call

SCOPES = ["monitor", "operate", "admin"]
DENIED = "You don't have permissions to do that."


def token_of(rota, name, scope, *options):
    return rota.run("token", "create", name, "--scope", scope, *options).stdout.strip()


def standing_by(rota, **settings):
    node = rota.node("n1", "--standby", ready=False, **settings)
    wait_until(lambda: node.http("/readyz")[1] == "standing by\n", 15, "the node to stand by")
    return node


@pytest.fixture(name="served", scope="module")
def node_with_tokens(server, tmp_path_factory):
    rota = Rota(server, tmp_path_factory.mktemp("access"))
    tokens = {scope: token_of(rota, f"of {scope}", scope) for scope in SCOPES}
    node = standing_by(rota)
    yield node.http_url(), tokens, node
    rota.close()
    assert not rota.faults()


def routes(url, token):
    """(method, path with names that nothing has, scope) of every route."""
    for path, item in call(url, "/api/openapi.json", token=token).json["paths"].items():
        for method, operation in item.items():
            yield method.upper(), re.sub(r"\{\w+\}", "987654321", path), operation["x-scope"]


def test_each_route_is_open_to_its_scope_and_above_and_to_nobody_else(served):
    url, tokens, _ = served
    seen = {"public": 0, **{scope: 0 for scope in SCOPES}}
    for method, path, scope in routes(url, tokens["monitor"]):
        seen[scope] += 1
        expected = [401, *(403 if scope in SCOPES[i + 1:] else "in" for i in range(3))]
        if scope == "public":
            expected = ["in"] * 4
        for token, wanted in zip([None, *tokens.values()], expected):
            endless = path == "/api/events" and wanted == "in"  # of what has no end, the head
            answer = call(url, path, "HEAD" if endless else method, token=token)
            if wanted == "in":
                assert answer.status in (200, 404) or path in ("/readyz", "/api/reset") or answer.status == 400, (path, answer)
            else:
                assert answer.status == wanted, (method, path, scope, answer)
                assert answer.text == (DENIED if wanted == 403 else "Unauthenticated")
    assert seen["public"] == 2 and all(seen[scope] >= 5 for scope in SCOPES), seen


def test_a_token_is_kept_as_a_hash_and_shown_once(rota):
    made = json.loads(rota.run("token", "create", "ci", "--scope", "operate", "--json").stdout)
    assert re.fullmatch(r"rota_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", made["token"]) and made["scope"] == "operate"
    kept, = rota.db.execute("SELECT hash FROM rota.token").fetchone()
    assert bytes(kept) == hashlib.sha256(made["token"].encode()).digest()
    secret = made["token"].split("_", 2)[2]
    assert secret not in rota.run("token", "list", "--json").stdout + rota.run("token", "list").stdout
    for table in ("token", "audit"):
        assert not rota.db.execute(f"SELECT 1 FROM rota.{table} t WHERE t::text LIKE %s", (f"%{secret}%",)).fetchall()


def test_tokens_expire_are_revoked_and_rotated_with_an_overlap(rota):
    first = token_of(rota, "ci", "monitor")
    node = standing_by(rota)
    url = node.http_url()

    def status(token):
        return call(url, "/api/task", token=token).status

    assert status(first) == 200
    again = rota.run("token", "create", "ci", "--scope", "monitor", check=False)
    assert again.returncode == 1 and "--rotate" in again.stderr
    second = token_of(rota, "ci", "monitor", "--rotate", "--overlap", "1h")
    assert (status(first), status(second)) == (200, 200)
    third = token_of(rota, "ci", "monitor", "--rotate", "--overlap", "1s")
    wait_until(lambda: (status(first), status(second), status(third)) == (401, 401, 200), 10, "the overlap to end")
    rota.run("token", "revoke", "ci")
    wait_until(lambda: status(third) == 200 or status(third) == 401, 1)
    wait_until(lambda: call(url, "/api/task", token=third).status == 401, 6, "the revocation to be heeded")
    assert rota.run("token", "revoke", "ci", check=False).returncode == 4
    states = [row["state"] for row in json.loads(rota.run("token", "list", "--json").stdout)["data"]]
    assert states == ["revoked"] * 3


@pytest.mark.parametrize("arguments, code", [(["create", "x"], 2), (["create", "x", "--scope", "god"], 2), (["create"], 2), ([], 2),
                                            (["make", "x"], 2), (["list", "--scope", "admin"], 2), (["revoke", "x"], 4),
                                            (["create", "x" * 65, "--scope", "admin"], 2)])
def test_token_says_what_is_wrong(rota, arguments, code):
    done = rota.run("token", *arguments, check=False)
    assert done.returncode == code and done.stderr.startswith("rota token: "), done.stderr


def test_what_is_no_token_of_ours_is_refused(served):
    url, tokens, _ = served
    good = tokens["monitor"]
    last = "A" if good[-1] != "A" else "B"
    for header in ("", "Bearer", "Bearer ", "Bearer x", f"Basic {good}", f"Bearer {good[:-1]}{last}", f"Bearer {good}x"):
        answer = call(url, "/api/task", headers={"Authorization": header})
        assert (answer.status, answer.text) == (401, "Unauthenticated") and "Bearer" in answer.headers["www-authenticate"]
    assert call(url, "/api/task", headers={"Authorization": f"bearer   {good}"}).status == 200


def test_guessing_is_slowed_down_and_logged_without_the_guess(rota):
    good = token_of(rota, "ci", "monitor")
    node = standing_by(rota)
    url = node.http_url()
    guess = good[:20] + "Z" * 41
    statuses = [call(url, "/api/task", token=guess).status for _ in range(15)]
    assert statuses == [401] * 10 + [429] * 5
    answer = call(url, "/api/task", token=guess)
    assert answer.status == 429 and int(answer.headers["retry-after"]) > 0
    assert call(url, "/healthz").status == 200
    lines = node.lines("http authentication failed")
    assert [line["failures"] for line in lines] == [1, 10] and lines[0]["address"] == "127.0.0.1"
    assert "Z" * 10 not in node.text() and good[-20:] not in node.text()


def test_a_token_that_was_good_is_not_shut_out_by_others_at_its_address(rota):
    good = token_of(rota, "ci", "monitor")
    node = standing_by(rota)
    url = node.http_url()
    assert call(url, "/api/task", token=good).status == 200
    for _ in range(12):
        call(url, "/api/task", token=good[:20] + "Z" * 41)
    assert call(url, "/api/task", token=good).status == 200


def own_address():
    """An address of this machine that is not its loopback; None: it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return None


def test_without_a_token_only_this_machine_is_served(rota):
    address = own_address()
    if address is None or address.startswith("127."):
        pytest.skip("this machine has no address but its loopback")
    node = standing_by(rota, http_listen="0.0.0.0:0")
    port = node.http_url().rsplit(":", 1)[1]
    inside, outside = f"http://127.0.0.1:{port}", f"http://{address}:{port}"
    assert call(inside, "/api/task").status == 200
    refused = call(outside, "/api/task")
    assert refused.status == 403 and "rota token create" in refused.text
    assert call(outside, "/healthz").status == 200  # probes come from elsewhere
    token = token_of(rota, "ci", "monitor")
    wait_until(lambda: call(outside, "/api/task", token=token).status == 200, 10, "the token to be known")
    wait_until(lambda: call(inside, "/api/task").status == 401, 10, "this machine to need one, too")


def test_what_a_proxy_on_this_machine_passes_on_is_not_of_this_machine(rota):
    node = standing_by(rota)
    for name, value in (("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1"), ("X-Real-IP", "192.0.2.1"),
                        ("X-Forwarded-Host", "rota.example"), ("Via", "1.1 proxy")):
        assert call(node.http_url(), "/api/task", headers={name: value}).status == 403, name
    assert call(node.http_url(), "/api/task").status == 200


def test_a_name_that_others_let_point_here_is_not_served(rota):
    node = standing_by(rota)
    for host, status in (("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:8300", 200), ("evil.example", 403),
                         ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403)):
        assert call(node.http_url(), "/api/task", headers={"Host": host}).status == status, host


def test_other_sites_change_nothing(rota):
    rota.apply({"name": "a", "handler": "noop", "durable": True})
    node = standing_by(rota)
    url = node.http_url()
    host = url.split("//")[1]
    for headers, status in (({}, 200), ({"Origin": url}, 200), ({"Sec-Fetch-Site": "same-origin"}, 200),
                            ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403),
                            ({"Origin": f"https://evil.example/{host}"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403),
                            ({"Sec-Fetch-Site": "same-site"}, 403), ({"Content-Type": "text/plain"}, 415),
                            ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
                            ({"Content-Type": "application/json; charset=utf-8"}, 200), ({"Content-Type": "application/jsonp"}, 415)):
        answer = call(url, "/api/jobs/a/enqueue", "POST", {"data": {}}, headers=headers)
        assert answer.status == status, (headers, answer)
    assert rota.db.execute("SELECT count(*) FROM rota.pending").fetchone()[0] == 4


def test_get_changes_nothing(served):
    """All that changes something is another method, and another method than those of a path is refused."""
    url, tokens, _ = served
    for method, path, _ in routes(url, tokens["monitor"]):
        if method != "GET":
            answer = call(url, path, token=tokens["admin"])
            assert answer.status in (404, 405) and (answer.status == 404 or method in answer.headers["allow"])


def test_answers_carry_what_browsers_need_to_be_careful(served):
    url, tokens, _ = served
    for path, token in (("/healthz", None), ("/api/task", tokens["monitor"]), ("/api/task", None), ("/nothing", None)):
        headers = call(url, path, token=token).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"] and headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers and "server" not in headers


def test_an_old_binary_says_what_the_schema_lacks(empty_rota):
    done = command("token", "list", database_url=empty_rota.url)
    assert done.returncode == 1 and "rota migrate" in done.stderr
