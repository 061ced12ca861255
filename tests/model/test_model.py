"""The protocol of claim, lease, fence and recovery, as a model that spin searches exhaustively: what must hold holds
in every order of events, and stops to hold when one of its parts is taken out.

    python3 -m pytest -s tests/model              prints the counterexamples of what was taken out, too
    python3 -m pytest -s tests/model -k FENCE"""

import os
import re
import shutil
import subprocess

import pytest

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rota.pml")
FULL = os.environ.get("ROTA_TEST_FULL") == "1"
MEMORY_MB = 8000 if FULL else 1900
LIMIT_S = 3600 if FULL else 600
DEPTH = 100000
LANES = {"both": 3, "one": 1, "none": 0}

pytestmark = pytest.mark.skipif(not shutil.which("spin") or not shutil.which("gcc"), reason="needs spin and gcc")


class Search:
    """One exhaustive search: `errors` found, `states` seen, and the story of the first error."""

    def __init__(self, folder, lanes, faults, late, without=None, optimise="-O1", options=()):
        self.folder = folder
        self.defines = [f"-DLANES={LANES[lanes]}", f"-DFAULTS={faults}", f"-DLATE={late}"]
        self.defines += [f"-DWITHOUT_{without}"] if without else []
        shutil.copy(MODEL, folder)
        self.run("spin", "-a", *self.defines, "rota.pml")
        self.run("gcc", optimise, "-w", "-DSAFETY", "-DNOREDUCE", f"-DMEMLIM={MEMORY_MB}", *options, "pan.c", "-o", "pan")
        said = self.run("./pan", f"-m{DEPTH}", "-w22")
        assert "Search not completed" not in said or "errors: 1" in said, f"not exhaustive:\n{said}"
        assert "max search depth too small" not in said and "State-vector" in said, said
        self.errors = int(re.search(r"errors: (\d+)", said).group(1))
        self.states = int(float(re.search(r"(\S+) states, stored", said).group(1)))
        self.broken, self.story = (self.replay() if self.errors else (None, ""))

    def run(self, *command):
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def replay(self):
        """What the assertion says that fails first, and the steps that lead there."""
        said = subprocess.run(["spin", "-t", "-T", *self.defines, "rota.pml"], cwd=self.folder, capture_output=True,
                              text=True, timeout=LIMIT_S, check=False).stdout
        line = int(re.search(r"rota\.pml:(\d+), Error: assertion violated", said).group(1))
        with open(MODEL, encoding="utf-8") as file:
            text = file.read().splitlines()[line - 1]
        broken = re.search(r"assert\(.*/\* (.*) \*/", text).group(1)
        steps = [step.strip() for step in re.findall(r"^ *(?:node|incarnation|the database|nothing) .*$", said, re.M)]
        return broken, "\n".join(step for step in steps if " = " not in step)


# lanes, faults, late messages. Each is searched to its end.
BOUNDS = [("both", 1, 1), ("one", 1, 1), ("none", 1, 1)]
FULL_BOUNDS = [("both", 2, 1), ("one", 1, 2), ("one", 2, 0), ("none", 1, 2), ("none", 2, 0)]  # 6 GB the largest


@pytest.mark.parametrize("lanes, faults, late", BOUNDS + (FULL_BOUNDS if FULL else []))
def test_whatever_fails_no_run_is_lost_or_over_twice_and_no_lane_overlaps(tmp_path, lanes, faults, late):
    search = Search(tmp_path, lanes, faults, late, optimise="-O2" if faults + late > 2 else "-O1")
    print(f"lanes {lanes}, {faults} faults, {late} late messages: {search.states} states")
    assert search.errors == 0, f"{search.broken}:\n{search.story}"
    assert search.states > 10000, "the model does hardly anything"


OVERLAP, TWICE, AGAIN, STUCK = "two of a lane at once", "over twice", "again, with no recovery on record", "stuck"

# What is taken out, where that is seen, and what breaks.
PARTS = [
    ("ONCE", "none", 1, 0, TWICE),
    ("FENCE", "both", 1, 1, OVERLAP),
    ("KEY", "none", 1, 1, STUCK),
    ("LOCK_DELAY", "both", 1, 0, OVERLAP),
    ("GUARD", "both", 1, 0, OVERLAP),
    ("SLOT", "both", 0, 0, OVERLAP),
    ("LEASE_FROM_SENDING", "both", 2, 1, OVERLAP),
    ("RESTART_DELAY", "both", 2, 0, OVERLAP),
    ("DELAY_OF_THE_YOUNG", "both", 3, 0, OVERLAP),
    ("CLAIM_INCARNATION", "both", 1, 1, OVERLAP),
    ("RECONCILIATION", "none", 1, 1, STUCK),
    ("STEP_NUMBER", "one", 0, 1, AGAIN),
    ("IDLE_LIMIT", "both", 1, 1, STUCK),
]
OTHER_ORDER = {"LEASE_FROM_SENDING": ["-DREVERSE"]}  # finds it sooner


@pytest.mark.parametrize("without, lanes, faults, late, broken", PARTS, ids=[part[0] for part in PARTS])
def test_without_one_part_it_breaks(tmp_path, without, lanes, faults, late, broken):
    search = Search(tmp_path, lanes, faults, late, without, "-O0", OTHER_ORDER.get(without, []))
    assert search.errors > 0, f"without {without} nothing breaks: it is not needed, or not in the model"
    print(f"\nwithout {without}: {search.broken}\n{search.story}")
    assert search.broken == broken


def test_every_part_that_can_be_taken_out_is():
    with open(MODEL, encoding="utf-8") as file:
        assert set(re.findall(r"\bWITHOUT_([A-Z_]+)\b", file.read())) == {part[0] for part in PARTS}
