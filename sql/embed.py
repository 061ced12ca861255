#!/usr/bin/env python3
"""Turns sql/query/*.sql and sql/schema/*.sql into C: one table of statements, one of migrations.

usage: embed.py header|source OUT FILE...

A query file is one statement. Its head comment says what it does, on which connections it is
prepared (`-- on: work session client`), and names every parameter (`-- $1 name: meaning`). What
several statements share is a file of sql/part, put in by a line `-- include ../part/name.sql`.
"""
import os
import re
import sys

ROLES = {"session": "STATEMENT_SESSION", "work": "STATEMENT_WORK", "client": "STATEMENT_CLIENT"}


def fail(path, why):
    sys.exit(f"{path}: {why}")


def symbol(path):
    return "SQL_" + os.path.basename(path)[:-4].upper()


def c_string(text):
    out = []
    for line in text.splitlines(keepends=True):
        escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("?", "\\?")
        out.append(f'    "{escaped}"')
    return "\n".join(out) or '    ""'


def included(path, line):
    """The text of a part that several statements share."""
    with open(os.path.join(os.path.dirname(path), line.split()[2]), encoding="utf-8") as part:
        return "".join(l for l in part if not l.startswith("--")).rstrip("\n")


def read_query(path):
    text = open(path, encoding="utf-8").read()
    text = re.sub(r"^-- include .*$", lambda line: included(path, line.group(0)), text, flags=re.M)
    head = [l for l in text.splitlines() if l.startswith("--")]
    body = "\n".join(l for l in text.splitlines() if not l.startswith("--")).strip().rstrip(";") + "\n"
    roles = [r for l in head if l.startswith("-- on:") for r in l[6:].split()]
    if not roles or any(r not in ROLES for r in roles):
        fail(path, f"needs a line `-- on: …` with some of {', '.join(ROLES)}")
    count = max([int(n) for n in re.findall(r"\$(\d+)", body)], default=0)
    for n in range(1, count + 1):
        if not any(re.match(rf"-- \${n} \w+", l) for l in head):
            fail(path, f"parameter ${n} is not named in the head comment")
    if ";" in re.sub(r"'[^']*'", "", body):
        fail(path, "holds more than one statement")
    return body, count, " | ".join(ROLES[r] for r in roles)


def main():
    kind, out, files = sys.argv[1], sys.argv[2], sys.argv[3:]
    queries = sorted(f for f in files if "/query/" in f)
    schema = sorted(f for f in files if "/schema/" in f)
    lines = []
    if kind == "header":
        lines += ["/* Made by sql/embed.py: the statements by name. */", "#ifndef SQL_STATEMENTS_H",
                  "#define SQL_STATEMENTS_H", "", "enum statement_id {"]
        lines += [f"    {symbol(f)}," for f in queries]
        lines += ["    STATEMENT_COUNT", "};", "", "#endif"]
    else:
        lines += ["/* Made by sql/embed.py: the texts of statements and migrations. */",
                  '#include "sql/sql.h"', "",
                  "const struct statement statements[STATEMENT_COUNT] = {"]
        for f in queries:
            body, count, roles = read_query(f)
            lines += [f"[{symbol(f)}] = {{\"{os.path.basename(f)[:-4]}\", {count}, {roles},",
                      c_string(body) + "},"]
        lines += ["};", "", "const struct migration migrations[] = {"]
        for i, f in enumerate(schema, 1):
            name = os.path.basename(f)[:-4]
            if not re.fullmatch(r"\d{4}_[a-z0-9_]+", name) or int(name[:4]) != i:
                fail(f, f"migrations are numbered without gaps: {i:04d}_name.sql is next")
            lines += [f'{{{i}, "{name}",', c_string(open(f, encoding="utf-8").read()) + "},"]
        lines += ["};", "const int migration_count = sizeof migrations / sizeof *migrations;"]
    with open(out, "w", encoding="utf-8") as target:
        target.write("\n".join(lines) + "\n")


main()
