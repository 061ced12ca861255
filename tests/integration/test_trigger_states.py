"""The states a trigger goes through are those of the table in coord/trigger_state.c, whoever moves it: the
node, a statement, an apply."""

import os
import sys

import pytest

from waiting import wait_until

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "hygiene"))

import diagrams  # noqa: E402

LETTERS = {"W": "waiting", "B": "blocked", "E": "error", "C": "complete"}
WATCH = """
CREATE TABLE moves (trigger_id integer, origin text, target text);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.moves VALUES (OLD.trigger_id, OLD.state::text, NEW.state::text); RETURN NULL; END $$;
CREATE TRIGGER watch AFTER UPDATE OF state ON rota.trigger_due FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION watch();
"""


@pytest.fixture
def watched(rota):
    rota.db.execute(WATCH)
    return rota


def moves(rota):
    return {(LETTERS[origin], LETTERS[target]) for origin, target in rota.rows("SELECT DISTINCT origin, target FROM moves")}


def state(rota, trigger):
    return rota.value("SELECT state FROM rota.trigger_state WHERE trigger = %s", trigger)


def test_no_trigger_moves_but_by_the_table(watched):
    table = {(origin, target) for origin, _, target, _ in diagrams.Machine("coord/trigger_state.c").rows if origin != target}
    slow = {"name": "slow", "handler": "noop", "disallow_concurrent": True, "data": {"sleep": "700ms"},
            "triggers": [{"name": f"slow-{i}", "every": "200ms"} for i in range(3)]}
    fails = {"name": "fails", "handler": "noop", "disallow_concurrent": True, "on_exhausted": "error",
             "data": {"sleep": "300ms", "fail": "no"},
             "triggers": [{"name": f"fails-{i}", "every": "200ms"} for i in range(2)]}
    once = {"name": "once", "handler": "noop", "triggers": [{"name": "once", "every": "1s", "repeat": 0}]}
    node = watched.node()
    watched.apply(slow, fails, once)
    wait_until(lambda: {("waiting", "blocked"), ("blocked", "waiting"), ("waiting", "complete")} <= moves(watched), 20,
               lambda: moves(watched))
    wait_until(lambda: any(target == "error" for _, target in moves(watched)), 20, lambda: moves(watched))
    watched.db.execute("UPDATE rota.trigger SET timezone = 'Mars/Phobos', kind = 'cron', cron = '* * * * * ?', every_us = NULL, "
                       "revision = revision + 1 WHERE name = 'slow-2'")
    watched.db.execute("UPDATE rota.trigger_due d SET revision = t.revision FROM rota.trigger t WHERE t.id = d.trigger_id")
    wait_until(lambda: state(watched, "slow-2") == "error", 20, lambda: moves(watched))
    node.stop()
    watched.db.execute("UPDATE rota.trigger SET timezone = 'UTC'")
    watched.node("n2")
    wait_until(lambda: ("error", "waiting") in moves(watched), 20, lambda: moves(watched))
    watched.apply({**slow, "triggers": [{"name": f"slow-{i}", "every": "1h"} for i in range(3)]},
                  {**once, "triggers": [{"name": "once", "every": "1h"}]})
    wait_until(lambda: ("complete", "waiting") in moves(watched), 20, lambda: moves(watched))
    assert moves(watched) <= table, moves(watched) - table
    assert len(moves(watched)) >= 6, moves(watched)
