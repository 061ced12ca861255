"""Older builds of this program, from the history of the repository: built once and kept in build-test."""

import fcntl
import os
import shutil
import subprocess

import pytest

from fleet import REPOSITORY

BUILDS = os.path.join(REPOSITORY, "build-test")


def _run(*arguments, **options):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=240, check=False, cwd=REPOSITORY, **options)


def _git(*arguments):
    done = _run("git", *arguments)
    if done.returncode != 0:
        pytest.skip(f"the history is not there: git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def commit_before(path):
    """The last one that did not have the file."""
    if shutil.which("git") is None:
        pytest.skip("the history is not there: no git")
    added = _git("log", "--diff-filter=A", "--format=%H", "--", path).splitlines()
    if not added:
        pytest.skip(f"the history is not there: no commit adds {path}")
    return _git("rev-parse", "--verify", f"{added[-1]}^")


def _build(commit, directory):
    source, out = os.path.join(directory, "source"), os.path.join(directory, "build")
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(source)
    _git("archive", "--output", os.path.join(directory, "source.tar"), commit)
    for step in (["tar", "-xf", os.path.join(directory, "source.tar"), "-C", source],
                 ["meson", "setup", out, source, "--buildtype=plain", "-Doptimization=1", "-Dtests=false"],
                 ["nice", "ninja", "-j2", "-C", out, "cmd/rota"]):
        done = _run(*step)
        assert done.returncode == 0, f"{' '.join(step)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def before(path):
    """The binary of the last commit without the file."""
    for tool in "meson", "ninja", "tar":
        if shutil.which(tool) is None:
            pytest.skip(f"nothing to build an older version with: no {tool}")
    commit = commit_before(path)
    directory = os.path.join(BUILDS, f"old-{commit[:12]}")
    binary, finished = os.path.join(directory, "build", "cmd", "rota"), os.path.join(directory, "finished")
    os.makedirs(BUILDS, exist_ok=True)
    with open(os.path.join(BUILDS, "old.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests may be at it
        if not os.path.exists(finished):
            _build(commit, directory)
            with open(finished, "w", encoding="utf-8"):
                pass
    return binary
