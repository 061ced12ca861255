"""The statements of sql/query, run by tests directly: prepared as the node prepares them."""

import os

from fleet import REPOSITORY


def statement(name):
    """The text without its head comment, with the parts it includes."""
    return _text(os.path.join(REPOSITORY, "sql/query", f"{name}.sql"))


def _text(path):
    with open(path, encoding="utf-8") as file:
        return "".join(_text(os.path.join(os.path.dirname(path), line.split()[2])) if line.startswith("-- include ") else line
                       for line in file if line.startswith("-- include ") or not line.startswith("--"))


def text(value):
    """A value as it stands inside an array or a literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def array(kind, values):
    """A literal; texts with commas or quotes in them are quoted."""
    def element(value):
        plain = text(value)
        if value is None or not set(plain) & set('", {}\\'):
            return plain
        return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return "'{" + ",".join(map(element, values)).replace("'", "''") + f"}}'::{kind}[]"


def same(kind, value, count):
    return array(kind, [value] * count)


def run(db, name, *arguments):
    """Executes a statement with literals as its parameters; the rows."""
    if not db.execute("SELECT FROM pg_prepared_statements WHERE name = %s", (name,)).rowcount:
        db.execute(f"PREPARE {name} AS {statement(name)}")
    values = [value if isinstance(value, str) else text(value) for value in arguments]
    found = db.execute(f"EXECUTE {name}" + (f" ({', '.join(values)})" if values else ""))
    return found.fetchall() if found.description else []
