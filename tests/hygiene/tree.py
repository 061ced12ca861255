"""The repository's own files, and C as the hygiene tests need to read it: without comments, literals apart."""

import os
import re
import subprocess

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CODE = ("base", "sql", "store", "worker", "coord", "cmd")  # the product; tests/ and deploy/ beside it


def tracked():
    """Paths in git; in an unpacked archive, all files that are no build's."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = [name for name in listed.stdout.decode().split("\0") if name]
        return sorted(name for name in names if os.path.lexists(os.path.join(ROOT, name)))
    found = []
    for directory, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not re.match(r"build|__pycache__|\.", name)]
        found += [os.path.relpath(os.path.join(directory, name), ROOT) for name in names]
    return sorted(found)


def on_disk(*folders, ending):
    """Files below these folders, tracked or not yet: a rule holds before the commit too."""
    found = []
    for folder in folders:
        for directory, _, names in os.walk(os.path.join(ROOT, folder)):
            found += [os.path.relpath(os.path.join(directory, name), ROOT) for name in names if name.endswith(ending)]
    return sorted(path for path in found if "__pycache__" not in path)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


TOKEN = re.compile(r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.X | re.S)


def without(text, comments=True, literals=True):
    """C with comments and the insides of literals blanked; lines stay where they are."""
    def blank(match):
        token = match.group(0)
        if token.startswith("/"):
            return re.sub(r"[^\n]", " ", token) if comments else token
        return token[0] + " " * (len(token) - 2) + token[0] if literals else token

    return TOKEN.sub(blank, text)


def string_literals(text):
    """(line, literal) of each string outside comments."""
    for match in TOKEN.finditer(text):
        if match.group(0).startswith('"'):
            yield text.count("\n", 0, match.start()) + 1, match.group(0)


def functions(text):
    """(line, lines) of each function body, from its brace to its brace."""
    code = without(text)
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda found: re.sub(r"[^\n]", " ", found.group(0)), code, flags=re.M)
    depth, start = 0, None
    for match in re.finditer(r"[{}]", code):
        if match.group(0) == "{":
            if depth == 0 and code[:match.start()].rstrip().endswith(")"):
                start = match.start()
            depth += 1
            continue
        depth -= 1
        if depth == 0 and start is not None:
            yield code.count("\n", 0, start) + 1, code.count("\n", start, match.start()) + 1
            start = None
    assert depth == 0


def includes(text):
    """The files of ours that it includes."""
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', without(text, literals=False), re.M)
