"""docs/handlers.md: its settings, its jobs, what it says of their results, and its Python."""

import json
import pathlib
import re
import shlex

import pytest

from web import Web

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "handlers.md"
SCRIPT = """#!/bin/sh
[ -n "$TOKEN" ] || exit 1
echo "$# arguments in $PWD, mode $MODE, run $ROTA_RUN_ID: $(cat)"
"""


def blocks(head):
    return re.findall(rf"^```{head}\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def web():
    server = Web()
    yield server
    server.close()


@pytest.fixture
def node(rota, web, tmp_path, monkeypatch):
    """Of the settings shown, with our places for those of the document."""
    for folder in ("shop", "secrets"):
        (tmp_path / folder).mkdir()
    (tmp_path / "shop" / "close-day.sh").write_text(SCRIPT)
    (tmp_path / "shop" / "close-day.sh").chmod(0o755)
    (tmp_path / "secrets" / "hook").write_text("key of the hook\n")
    monkeypatch.setenv("HOOK_TOKEN", "t0ken")
    monkeypatch.setenv("REPORTS_URL", rota.url)
    [settings] = blocks("json settings")
    (tmp_path / "rota.json").write_text(here(settings, tmp_path, web).replace("*.shop.internal", "127.0.0.1"))
    rota.db.execute("CREATE TABLE cart AS SELECT g AS id, (ARRAY['ann','bob','cid'])[g] AS owner, 'open' AS state, "
                    "now() - '1d'::interval AS touched FROM generate_series(1, 3) g")
    return rota.node("n1", "--config", str(tmp_path / "rota.json"))


def here(text, tmp_path, web):
    return (text.replace("/opt/shop/", f"{tmp_path}/shop/").replace("/run/secrets/", f"{tmp_path}/secrets/")
            .replace("https://hooks.example.org", web.url))


def agrees(said, written):
    """`…` stands for any digits."""
    return re.fullmatch(re.escape(json.dumps(written, ensure_ascii=False)).replace("…", r"\d+"),
                        json.dumps(said, ensure_ascii=False)) is not None


def test_the_jobs_of_the_documentation_end_as_it_says(rota, node, web, tmp_path):
    for number, manifest in enumerate(blocks("json")):
        (tmp_path / f"m{number}.json").write_text(here(manifest, tmp_path, web))
        rota.run("apply", "-f", str(tmp_path / f"m{number}.json"))
    assert number == 4
    web.paths["/customers/a%2Fb/charges"] = lambda handler, request: web.answer(
        handler, 201, "charged", Content_Type="text/plain")
    [console] = blocks("console")
    program, *arguments = shlex.split(console.splitlines()[0].removeprefix("$ "))
    assert program == "rota"
    charge = int(rota.run(*arguments).stdout)
    results = re.findall(r"^```json result (\S+)\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert [name for name, _ in results] == ["close-day", "charge", "expire"]
    for name, written in results:
        row = rota.wait_history(charge if name == "charge" else rota.enqueue(name)[0])
        assert row["status"] == "success" and agrees(row["details"], json.loads(written)), row
    assert rota.wait_history(*rota.enqueue("nothing"))["status"] == "success"
    assert rota.rows("SELECT DISTINCT state FROM cart") == [("expired",)]

    request, = web.requests
    assert f"{request['method']} {request['path']}" in DOCUMENT.read_text()
    assert request["body"].startswith('{"amount":19.90,"due":"20')
    assert request["headers"]["Authorization"] == "Bearer t0ken"
    names = {}
    [receiver] = blocks("python")
    exec(compile(receiver, str(DOCUMENT), "exec"), names)  # pylint: disable=exec-used
    signature, body = request["headers"]["X-Rota-Signature"], request["body"].encode()
    assert names["is_genuine"](b"key of the hook", signature, body)
    assert not names["is_genuine"](b"another key", signature, body)
    assert not names["is_genuine"](b"key of the hook", signature, body + b" ")


def test_the_table_of_settings_shows_the_defaults(rota):
    rows = {row["name"]: row for row in json.loads(rota.run("settings", "--json").stdout)["settings"]}
    written = re.findall(r"^\| `(\w+)` \| (?:nothing|none) \|", DOCUMENT.read_text().split("\n## ")[0],
                         re.MULTILINE)
    assert written == ["exec_allow", "http_allow", "secret_env", "secret_files", "databases"]
    for name in written:
        assert rows[name]["value"] in ("[]", None), name


def test_a_pointer_that_names_nothing_is_told(rota, node):
    rota.apply({"name": "bad", "handler": "sql", "durable": True, "data": {
        "database": "reports", "statement": "SELECT $1", "parameters": [{"$pointer": "/data/none"}]}})
    row = rota.wait_history(*rota.enqueue("bad"))
    assert "/data/none names nothing" in row["details"]["message"]
