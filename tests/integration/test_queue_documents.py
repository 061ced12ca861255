"""docs/queue.md: its examples do what they say, and the tests it names exist."""

import os
import pathlib
import re
import subprocess

from fleet import REPOSITORY, binary, environment

DOCUMENT = pathlib.Path(REPOSITORY) / "docs" / "queue.md"
MARK = "@@@ next @@@"


def blocks():
    """(language, text) in their order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def agrees(said, written):
    """Numbers may be any: those of runs depend on who has run before."""
    pattern = re.sub(r"\d+", r"\\d+", re.escape(written.strip()))
    return re.fullmatch(pattern, said.strip()) is not None


def act(rota, block):
    """The commands of one example, in one shell."""
    steps = [step.split("\n", 1) for step in block.removeprefix("$ ").split("\n$ ")]
    script = f"rota() {{ {binary()} \"$@\"; }}\n" + f"\necho '{MARK}'\n".join(command for command, *_ in steps)
    done = subprocess.run(["bash", "-c", script], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                          env=environment(database_url=rota.url), cwd=rota.directory, check=False)
    answers = done.stdout.split(MARK)
    assert len(answers) == len(steps)
    for (command, *written), said in zip(steps, answers):
        assert agrees(said, "".join(written)), f"{command}: {said!r} is not {written!r}"
    return len(steps)


def test_the_examples_of_the_documentation_do_what_they_say(rota):
    seen = {"json": 0, "sql": 0, "console": 0}
    for language, text in blocks():
        if language == "json":
            path = os.path.join(rota.directory, "shop.json")
            pathlib.Path(path).write_text(text)
            rota.run("apply", "-f", path)
            seen["json"] += 1
        elif language == "sql":
            for statement in text.split(";\n"):
                if statement.strip():
                    rota.db.execute(statement)
                    seen["sql"] += 1
        else:
            seen["console"] += act(rota, text)
    assert seen["json"] == 1 and seen["sql"] >= 10 and seen["console"] >= 15
    assert rota.value("SELECT p.data ->> 'version' FROM rota.pending p JOIN rota.job j ON j.id = p.job_id WHERE j.name = 'index'") == "2"


def test_the_tests_that_are_named_exist():
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text()))
    there = set()
    for path in pathlib.Path(REPOSITORY, "tests", "integration").glob("test_*.py"):
        there.update(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))
    assert len(named) > 15 and not named - there
