"""What the documents say is so: files they name exist, the map is whole, diagrams are those of the code."""

import os
import re

import diagrams
from tree import CODE, ROOT, on_disk, read, tracked, without

DOCUMENTS = [path for path in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "sql/README.md", "deploy/examples/README.md")
             + tuple(on_disk("docs", ending=".md")) if os.path.exists(os.path.join(ROOT, path))]
C_SOURCES = {path: without(read(path), literals=False) for path in on_disk(*CODE, ending=(".c", ".h"))}


def exists(path):
    return os.path.exists(os.path.join(ROOT, path))


def test_links_lead_somewhere():
    broken = []
    for document in DOCUMENTS:
        text = read(document)
        headings = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)}
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            if path and not exists(os.path.join(os.path.dirname(document), path)):
                broken.append(f"{document}: {target}")
            if not path and anchor not in headings:
                broken.append(f"{document}: #{anchor}")
    assert not broken


def test_files_that_are_named_exist():
    """Paths that begin with a folder of ours, in examples and in the text; what is built is not looked for."""
    folders = "|".join(CODE + ("tests", "deploy", "docs"))
    missing = []
    for document in DOCUMENTS:
        for path in re.findall(rf"(?<![\w/.-])((?:{folders})/[\w./-]*[\w/])", read(document)):
            if not exists(path) and not exists(path + ".c") and not re.search(r"NNNN|crash-", path):
                missing.append(f"{document}: {path}")
    assert not missing


def test_the_map_names_each_file_and_no_other():
    block = re.search(r"^## Map\n.*?```\n(.*?)```", read("CONTRIBUTING.md"), re.S | re.M).group(1)
    named, folder = set(), None
    for line in block.splitlines():
        name, told = re.match(r"(\s*\S+)\s+(\S.*)$", line).groups()
        assert told
        if name.endswith("/"):
            folder = name
        else:
            named.add(folder + name.strip())
    committed = {os.path.splitext(path)[0] for path in tracked() if path in C_SOURCES}
    assert sorted(committed - named) == [], "the map does not name these"
    assert sorted(named - {os.path.splitext(path)[0] for path in C_SOURCES}) == [], "the map names these, which are not there"


def test_the_diagrams_are_those_of_the_tables():
    text = read(diagrams.DOCUMENT)
    start, end = text.index(diagrams.BEGIN), text.index(diagrams.END) + len(diagrams.END)
    assert text[start:end] == diagrams.section(), "run python3 tests/hygiene/diagrams.py --write"


def test_every_table_of_moves_has_a_diagram():
    tables = [path for path, code in C_SOURCES.items()
              if re.search(r"struct (machine_row|state_move) \w+\[\]\s*=", code)]
    assert sorted(tables) == sorted(machine.path for machine in diagrams.machines()) and len(tables) >= 4
    for machine in diagrams.machines():
        assert set(machine.states) == {state for row in machine.rows for state in (row[0], row[2])}
        assert set(machine.events) == {row[1] for row in machine.rows}


def test_proofs_that_are_named_exist():
    """`test_x.c::name` in tests/unit, `test_x.py::name` in tests/integration: tests that run."""
    missing, seen = [], 0
    for document in DOCUMENTS:
        for file, ending, name in re.findall(r"\b(test_\w+)\.(c|py)::(\w+)", read(document)):
            path = f"tests/{'unit' if ending == 'c' else 'integration'}/{file}.{ending}"
            runs = rf"\bcmocka_unit_test\w*\({name}\b" if ending == "c" else rf"^def {name}\("
            if not exists(path) or not re.search(runs, read(path), re.M):
                missing.append(f"{document}: {path} has no {name}")
            seen += 1
    assert seen > 50 and not missing


def test_functions_and_log_lines_that_are_named_exist():
    text = read("CONTRIBUTING.md")
    code = "\n".join(C_SOURCES.values())
    schema = "\n".join(map(read, on_disk("sql/schema", ending=".sql")))
    missing = [name for name in re.findall(r"`(?:\w+\.)?(\w+)\(\)`", text)
               if not re.search(rf"\b{name}\(", code) and not re.search(rf"FUNCTION rota\.{name}\(", schema)]
    stuck = text[text.index("## When a run is stuck"):text.index("## Dependencies")]
    prose = re.sub(r"```.*?```", "", stuck, flags=re.S)
    lines = [line for line in re.findall(r"`([a-z][^`]*)`", prose) if " " in line and "(" not in line]
    missing += [line for line in lines if f'"{line}"' not in code]
    assert lines and not missing


def test_commands_that_are_named_exist():
    commands = set(re.findall(r'^\s*{"(\w+)", ', read("cmd/main.c"), re.M))
    assert len(commands) >= 10
    unknown = []
    for document in DOCUMENTS:
        if document.startswith("docs/"):
            continue
        for name in re.findall(r"(?:^    |`)(?:build/cmd/)?rota ([a-z]\w*)\b", read(document), re.M):
            if name not in commands:
                unknown.append(f"{document}: rota {name}")
    assert not unknown
