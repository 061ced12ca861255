"""Rules of the house that a machine can hold: layering, banned calls, SQL in its place, sizes, heads."""

import os
import re

from tree import CODE, ROOT, functions, includes, on_disk, read, string_literals, tracked, without

FILE_LINES, HEADER_LINES, FUNCTION_LINES = 600, 150, 70

C_FILES = on_disk(*CODE, ending=(".c", ".h"))
C_AND_TESTS = on_disk(*CODE, "tests", ending=(".c", ".h"))
QUERIES = on_disk("sql/query", ending=".sql")

# cmd → coord, worker → store → sql; all → base. The longest folder that fits a file counts.
LAYERS = {
    "base": {"base"},
    "sql": {"base", "sql"},
    "store": {"base", "sql", "store"},
    "worker": {"base", "worker"},
    "worker/builtin": {"base", "worker", "worker/builtin"},
    "worker/sdk": {"worker/sdk"},
    "coord": {"base", "sql", "store", "worker", "coord", "coord/schedule", "coord/http"},
    "coord/schedule": {"base", "coord/schedule"},
    "coord/http": {"base", "sql", "store", "coord", "coord/schedule", "coord/http"},
    "cmd": {"base", "sql", "store", "worker", "worker/sdk", "coord", "coord/schedule", "cmd"},
}


def layer(path):
    folder = os.path.dirname(path)
    while folder not in LAYERS:
        folder = os.path.dirname(folder)
        assert folder, f"{path} belongs to no layer"
    return folder


def test_includes_follow_the_layers():
    arrows = [(path, included) for path in C_FILES for included in includes(read(path))]
    assert not [f"{path} must not know {included}" for path, included in arrows
                if layer(included) not in LAYERS[layer(path)]]
    assert not [f"{path}: there is no {included}" for path, included in arrows
                if included != "sql/statements.h" and not os.path.exists(os.path.join(ROOT, included))]


def test_the_scanner_sees_what_it_should():
    """A rule that finds nothing because it reads nothing is worse than none."""
    assert len(C_FILES) > 80 and len(QUERIES) > 20
    code = '#include "a.h"\n/* strcpy(x) */\nint f(int a)\n{\n    g("strcpy(\\"", \'{\');\n}\nstruct s {\n    int x;\n};\n'
    assert includes(code) == ["a.h"]
    assert "strcpy" not in without(code)
    assert list(functions(code)) == [(4, 3)]
    assert list(string_literals(code)) == [(1, '"a.h"'), (5, '"strcpy(\\""')]


BANNED = re.compile(r"\b(strcpy|strcat|v?sprintf|gets|ato[if]|atoll?|system|popen|u?sleep)\s*\(")


def test_no_banned_call():
    found = []
    for path in C_FILES:
        code = without(read(path))
        found += [f"{path}:{code.count(chr(10), 0, match.start()) + 1}: {match.group(1)}"
                  for match in BANNED.finditer(code)]
    assert not found


# As a statement begins, so that help texts may speak of NOTIFY.
SQL = re.compile(r"""\b(SELECT\s | INSERT\s+INTO | UPDATE\s+\S+\s+SET | DELETE\s+FROM | TRUNCATE\s | WITH\s+\w+\s+AS
                     | (CREATE|ALTER|DROP)\s+(TABLE|SCHEMA|DATABASE|ROLE|USER|FUNCTION|VIEW|INDEX|SEQUENCE|EXTENSION)
                     | (GRANT|REVOKE)\s | (UN)?LISTEN\s | NOTIFY\s+["\w] | SET\s+(LOCAL|SESSION)\s
                     | PREPARE\s | DEALLOCATE\s | (BEGIN|COMMIT|ROLLBACK)\b)""", re.X)
SQL_ALLOWED = {"store/pipeline.c": {'"BEGIN"', '"COMMIT"', '"ROLLBACK"'},  # the frame of a transaction
               "cmd/postgres_create.c": {'"CREATE DATABASE rota;\\n"'}}  # before there is a server to prepare it on


def test_sql_lives_in_sql_files():
    assert not [f"{path}:{line}: {text}" for path in C_FILES for line, text in string_literals(read(path))
                if SQL.search(text) and text not in SQL_ALLOWED.get(path, set())]


def test_every_query_is_used_and_every_used_one_is_there():
    used = set()
    for path in on_disk("store", "worker", "coord", "cmd", ending=".c"):
        used |= set(re.findall(r"\bSQL_([A-Z][A-Z0-9_]+)\b", without(read(path))))
    there = {os.path.basename(path)[:-4].upper() for path in QUERIES}
    assert there - used == set(), "nobody uses these"
    assert used - there == set(), "these are no files of sql/query"


def test_every_file_is_listed_where_it_is_built():
    sources = on_disk(*CODE, ending=(".c", ".sql"))
    missing = []
    for path in sources:
        folder = os.path.dirname(path)
        while folder and not os.path.exists(os.path.join(ROOT, folder, "meson.build")):
            folder = os.path.dirname(folder)
        if f"'{os.path.relpath(path, folder)}'" not in read(os.path.join(folder, "meson.build")):
            missing.append(path)
    assert not missing


def test_a_query_says_what_it_does_and_names_its_parameters():
    found = []
    for path in QUERIES:
        text = read(path)
        head = [line for line in text.splitlines() if line.startswith("--")]
        told = [line for line in head if not re.match(r"-- (on:|\$\d+ )", line)]
        named = [int(number) for number in re.findall(r"^-- \$(\d+) \w+: \S", "\n".join(head), re.M)]
        used = max([int(number) for number in re.findall(r"\$(\d+)", text)], default=0)
        if not told or told[0] != head[0]:
            found.append(f"{path} does not begin with what it does")
        if named != list(range(1, used + 1)):
            found.append(f"{path} uses {used} parameters and names {named}")
    assert not found


def test_a_file_has_one_subject_and_ends():
    lines = {path: read(path).count("\n") for path in C_AND_TESTS + on_disk("tests", "sql", ending=".py")}
    assert not [f"{path} has {count} lines" for path, count in lines.items()
                if count > (HEADER_LINES if path.endswith(".h") else FILE_LINES)]


def test_a_function_fits_a_screen():
    assert not [f"{path}:{line}: {length} lines" for path in C_AND_TESTS for line, length in functions(read(path))
                if length > FUNCTION_LINES]


HEADS = {".c": "/*", ".h": "/*", ".sql": "-- ", ".py": ('"""', "#!"), ".sh": ("#!", "# ")}


def begins_badly(path):
    lines = (read(path) + "\n\n").splitlines()
    if not lines[0].startswith(HEADS[os.path.splitext(path)[1]]):
        return True
    return lines[0].startswith("#!") and not lines[1].startswith(("#", '"""'))


def test_a_file_begins_by_saying_what_it_is_for():
    files = C_AND_TESTS + on_disk("sql", "tests", "deploy", ending=(".sql", ".py", ".sh"))
    assert not [f"{path} begins with {read(path)[:50]!r}" for path in files if begins_badly(path)]


LEFT_BEHIND = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|H" r"ACK)\b")


def test_nothing_is_left_to_be_done_later():
    texts = [path for path in tracked() if path.endswith((".c", ".h", ".sql", ".py", ".sh", ".md", ".build", ".txt"))]
    assert not [f"{path}:{number}: {line.strip()}" for path in texts
                for number, line in enumerate(read(path).splitlines(), 1) if LEFT_BEHIND.search(line)]


KNOWN = (".c", ".h", ".sql", ".py", ".sh", ".md", ".json", ".build", ".txt", ".tsv", ".csv", ".service", ".yaml", ".yml",
         ".dict", ".tpl", ".css", ".js", ".html", ".svg", ".conf", ".pml")
BINARY_ALLOWED = "tests/fuzz/corpus/"  # bytes are what a parser is fed with


def test_no_compiled_or_foreign_file_is_in_the_repository():
    foreign = []
    for path in tracked():
        name = os.path.basename(path)
        with open(os.path.join(ROOT, path), "rb") as file:
            content = file.read()
        if path.startswith(BINARY_ALLOWED) and len(content) <= 20000:
            continue
        plain = "." not in name.lstrip(".")  # run, Dockerfile, .gitignore
        if b"\0" in content or len(content) > 500000 or not (plain or name.endswith(KNOWN) or name.startswith(".")):
            foreign.append(path)
    assert not foreign


def test_no_path_of_somebodys_machine_is_in_the_product():
    pattern = re.compile(r"/(work|home|root)/")
    assert not [path for path in on_disk(*CODE, ending=(".c", ".h", ".sql")) if pattern.search(read(path))]
