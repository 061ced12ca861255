"""docs/protocol.md: its transcript is played to a real node, and its tables name what the code knows."""

import json
import pathlib
import re
import socket

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = (REPOSITORY / "docs" / "protocol.md").read_text()
JOB = {"name": "resize", "handler": "resize", "durable": True}


def transcript():
    [block] = re.findall(r"^```text\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    return [(line[0], line[2:]) for line in block.splitlines()]


def table(heading):
    """Type by type, the members that the first table below a heading names; bold ones apart."""
    text = DOCUMENT[DOCUMENT.index(f"## {heading}\n"):]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", text[:text.index("\n## ")] if "\n## " in text else text, re.MULTILINE)
    return {kind: (set(re.findall(r"`([a-z_]+)`", members)), set(re.findall(r"\*\*`([a-z_]+)`\*\*", members)))
            for kind, members in rows if kind != "type"}


def test_the_transcript_of_the_documentation_is_what_a_node_says(rota, tmp_path):
    rota.apply(JOB)
    node = rota.node("web-1", worker_listen=f"unix:{tmp_path}/s")
    numbers, run = {}, None  # of the document: of this node
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(15)
        connection.connect(f"{tmp_path}/s")
        lines = connection.makefile("rb")
        for who, text in transcript():
            if who == ">":
                for written, actual in numbers.items():
                    text = text.replace(written, actual)
                connection.sendall(text.encode() + b"\n")
                continue
            if '"type":"run"' in text:
                [run] = rota.enqueue("resize", "--data", '{"width":100}')
            written, heard = json.loads(text), json.loads(lines.readline())
            while heard["type"] == "lease" != written["type"]:  # a renewal in between
                heard = json.loads(lines.readline())
            assert list(heard) == list(written), (heard, written)
            assert {name: type(value) for name, value in heard.items()} == {
                name: type(value) for name, value in written.items()}
            assert heard["type"] == written["type"]
            if heard["type"] == "run":
                numbers = {f'"id":{written["id"]}': f'"id":{heard["id"]}',
                           f'"fence":{written["fence"]}': f'"fence":{heard["fence"]}'}
                assert heard["id"] == run and heard["data"] == written["data"]
            if heard["type"] == "refused":
                assert heard["reason"].startswith(written["reason"].removesuffix("…"))
        assert lines.readline() == b""
    row = rota.wait_history(run)
    assert row["status"] == "success" and row["details"]["bytes"] == 12345
    assert node.lines("worker disconnected")


@pytest.fixture
def fields():
    """What the code reads: member, its messages, and those that need it."""
    code = (REPOSITORY / "worker" / "protocol.c").read_text()
    rows = re.findall(r'{"(\w+)", FIELD_\w+, AT\(\w+\), (.*?), (0|[A-Z].*?)},', re.sub(r"\s+", " ", code))
    of_run = set(re.findall(r"T\((\w+)\)", re.search(r"#define OF_RUN(.*?\))\n\n", code, re.DOTALL).group(1)))

    def types(text):
        return {name.lower() for name in re.findall(r"T\((\w+)\)", text)} | {
            name.lower() for name in (of_run if "OF_RUN" in text else set())}

    assert len(rows) > 30
    return {name: (types(all_of), types(required)) for name, all_of, required in rows}


def test_the_tables_name_every_member_that_a_node_reads(fields):
    said = table("What the worker says")
    assert set(said) == {"hello", "done", "fail", "snooze", "refuse", "progress", "checkpoint", "log", "lock", "unlock",
                         "lease"}
    for kind, (members, required) in said.items():
        known = {name for name, (all_of, _) in fields.items() if kind in all_of}
        assert known <= members, f"{kind}: not in the document: {known - members}"
        assert required == {name for name, (_, need) in fields.items() if kind in need}, kind


def test_the_table_of_the_node_names_every_type_it_writes():
    code = (REPOSITORY / "worker" / "protocol.c").read_text()
    written = set(re.findall(r'{\\"type\\":\\"(\w+)\\"', code))
    assert set(table("What the node says")) == written
