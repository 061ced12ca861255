"""docs/http.md, the README's examples and /api/openapi.json say what the server does."""

import json
import os
import pathlib
import re
import subprocess

import pytest

from fleet import REPOSITORY, binary, environment
from waiting import wait_until
from web_client import call

HTTP = pathlib.Path(REPOSITORY) / "docs" / "http.md"
README = pathlib.Path(REPOSITORY) / "README.md"
MARK = "@@@ next @@@"


@pytest.fixture(name="node")
def node_of_the_examples(rota):
    rota.apply({"name": "report", "handler": "noop", "durable": True, "triggers": [{"name": "nightly", "cron": "0 0 2 * * ?"}]},
               {"name": "mail", "handler": "noop", "durable": True})
    node = rota.node("n1")
    rota.enqueue("report", "--count", "3")
    wait_until(lambda: call(node.http_url(), "/api/task?limit=0").json["total"] == 3, 15, "the runs of the examples")
    rota.run("standby", "n1")
    return node


def steps(document):
    """(command, what it answers) of the examples."""
    for block in re.findall(r"^```console\n(.*?)^```", document.read_text(), re.M | re.S):
        for step in block.removeprefix("$ ").split("\n$ "):
            command, _, written = step.partition("\n")
            yield command, written


def agrees(said, written):
    pattern = re.escape(written.strip()).replace("…", ".*")
    return re.fullmatch(pattern, said.strip(), re.S) is not None


def run_examples(document, rota, node):
    """All of them in one shell; how many there were."""
    examples = [(command, written) for command, written in steps(document) if "curl" in command]
    examples = [(command, written) for command, written in examples if "$TOKEN" not in command]
    script = f"rota() {{ {binary()} \"$@\"; }}\n" + f"\necho; echo '{MARK}'\n".join(command for command, _ in examples)
    done = subprocess.run(["bash", "-c", script], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                          env={**environment(database_url=rota.url), "URL": node.http_url()}, cwd=rota.directory, check=False)
    answers = done.stdout.split(MARK)
    assert len(answers) == len(examples)
    for (command, written), said in zip(examples, answers):
        assert agrees(said, written), f"{command}: {said!r} is not {written!r}"
    return len(examples)


def test_the_examples_of_the_documentation_do_what_they_say(rota, node):
    assert run_examples(HTTP, rota, node) >= 14


def test_the_example_with_a_token_does_what_it_says(rota, node):
    (create, made), (ask, answered) = [step for step in steps(HTTP) if "token create" in step[0] or "$TOKEN" in step[0]]
    token = rota.run(*create.split()[1:]).stdout
    assert agrees(token, made)
    done = subprocess.run(["bash", "-c", ask], text=True, capture_output=True, check=True,
                          env={**os.environ, "URL": node.http_url(), "TOKEN": token.strip()})
    assert agrees(done.stdout, answered)


def test_the_examples_of_the_readme_do_what_they_say(rota, node):
    assert run_examples(README, rota, node) >= 3


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), re.sub(r"\{(\w+)\}", r":\1", path), operation


def test_the_table_of_routes_is_that_of_the_program(node):
    document = call(node.http_url(), "/api/openapi.json").json
    rows = [f"| `{method} {path}` | {operation['x-scope']} | {operation['summary']} |"
            for method, path, operation in operations(document)]
    text = HTTP.read_text()
    written = text.split("|---|---|---|\n", 1)[1].split("\n\n<!-- End of the routes. -->")[0].splitlines()
    assert written == rows, "\n".join(rows)


def resolve(document, schema):
    while "$ref" in schema:
        kind, name = re.fullmatch(r"#/components/(\w+)/(\w+)", schema["$ref"]).groups()
        schema = document["components"][kind][name]
    return schema


TYPES = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list, "null": type(None)}


def check(document, schema, value, where):
    """That a value fits a schema, as far as ours say something."""
    schema = resolve(document, schema)
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    assert any(isinstance(value, TYPES[kind]) and not (kind == "integer" and isinstance(value, bool)) for kind in kinds), (where, value)
    if "enum" in schema:
        assert value in schema["enum"], (where, value)
    if schema.get("format") == "date-time" and value is not None:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value), (where, value)
    if isinstance(value, list):
        for i, item in enumerate(value):
            check(document, schema.get("items", {"type": list(TYPES)}), item, f"{where}[{i}]")
    if isinstance(value, dict):
        assert set(schema.get("required", [])) <= set(value), (where, set(schema["required"]) - set(value))
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                check(document, inner, value[name], f"{where}.{name}")


def test_the_description_is_openapi_3_1(node):
    document = call(node.http_url(), "/api/openapi.json").json
    assert document["openapi"] == "3.1.0" and document["info"]["title"] and document["info"]["version"]
    names, seen = set(), 0
    for method, path, operation in operations(document):
        seen += 1
        assert method in ("GET", "POST", "DELETE") and operation["summary"] and operation["operationId"] not in names
        names.add(operation["operationId"])
        wanted = re.findall(r":(\w+)", path)
        assert [one["name"] for one in operation["parameters"] if one["in"] == "path"] == wanted, path
        for one in operation["parameters"]:
            assert set(one) <= {"name", "in", "required", "schema"} and one["schema"]["type"] in TYPES
            assert one["in"] == "query" or one["required"] is True
        assert "200" in operation["responses"] and all(answer["description"] for answer in operation["responses"].values())
        for answer in operation["responses"].values():
            for content in answer.get("content", {}).values():
                assert resolve(document, content["schema"])["type"]
        assert ("requestBody" in operation) == (method != "GET"), path
    assert seen >= 40
    for schema in document["components"]["schemas"].values():
        assert set(schema) <= {"type", "required", "properties", "items"}
        assert set(schema.get("required", [])) <= set(schema.get("properties", {}))
    assert document["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer", "bearerFormat": "rota_KEY_SECRET"}


EXAMPLES = [("GET", "/api/task", "/api/task"), ("GET", "/api/task", "/api/task?limit=2"), ("GET", "/api/task/info", "/api/task/info"),
            ("GET", "/api/task/unique-tasks", "/api/task/unique-tasks"), ("GET", "/api/jobs", "/api/jobs"),
            ("GET", "/api/jobs/:name", "/api/jobs/mail"), ("GET", "/api/triggers", "/api/triggers"), ("GET", "/api/runs", "/api/runs"),
            ("GET", "/api/nodes", "/api/nodes"), ("GET", "/api/locks", "/api/locks"), ("GET", "/api/lanes", "/api/lanes"),
            ("GET", "/api/audit", "/api/audit"), ("GET", "/api/tokens", "/api/tokens"), ("GET", "/healthz", "/healthz"),
            ("POST", "/api/jobs/:name/enqueue", "/api/jobs/mail/enqueue"), ("POST", "/api/jobs/:name/fire", "/api/jobs/mail/fire"),
            ("POST", "/api/jobs/:name/pause", "/api/jobs/mail/pause"), ("POST", "/api/jobs/:name/resume", "/api/jobs/mail/resume"),
            ("POST", "/api/reset", "/api/reset"), ("POST", "/api/nodes/:name/standby", "/api/nodes/n1/standby"),
            ("POST", "/api/runs/:id/retry", None), ("GET", "/api/task/:id", None), ("GET", "/api/task", "/api/task?status=bad"),
            ("DELETE", "/api/jobs/:name", "/api/jobs/nobody"), ("GET", "/api/openapi.json", "/api/openapi.json")]


def test_answers_fit_their_description(node):
    url = node.http_url()
    document = call(url, "/api/openapi.json").json
    described = {(method, path): operation for method, path, operation in operations(document)}
    run = call(url, "/api/task?limit=1").json["data"][0]["id"]
    for method, route, path in EXAMPLES:
        answer = call(url, path or route.replace(":id", str(run)), method)
        content = described[method, route]["responses"][str(answer.status)]["content"]
        kind = answer.headers["content-type"].split(";")[0]
        value = answer.json if kind == "application/json" else answer.text
        check(document, content[kind]["schema"], value, f"{method} {path}")
    assert json.dumps(document)
