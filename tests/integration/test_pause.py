"""`rota pause` and `rota resume`: what stops, when, where, and what becomes of what fell meanwhile."""

import datetime
import json
import random
import threading
import time

import psycopg
import pytest

from ledger import instant_text
from waiting import holds_for, wait_for_clock, wait_until

TAKES_S = 85

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('rota.apply', 0))"


def every_second(name, seconds=None, start_ms=None, **more):
    declared = {"name": name, "every": "1s", **more}
    if start_ms is not None:
        declared["start_at"] = instant_text(start_ms)
    if seconds is not None:
        declared["end_at"] = instant_text(start_ms + (seconds - 1) * 1000)
    return declared


def job(name, *triggers, **more):
    return {"name": name, "handler": "noop", "durable": True, "triggers": list(triggers), **more}


def clock(rota):
    return rota.value("SELECT clock_timestamp()")


def due(rota, trigger):
    names = ("state", "paused", "paused_at", "next_at", "fired", "missed", "misfired", "pass_from", "pass_until")
    found = rota.rows(f"""SELECT d.state::text, {', '.join('d.' + name for name in names[1:])}
                            FROM rota.trigger_due d JOIN rota.trigger t ON t.id = d.trigger_id WHERE t.name = %s""", trigger)
    return dict(zip(names, found[0]))


def fired(rota, trigger):
    """The occurrences it has runs of, wherever these are."""
    return [at for (at,) in rota.rows("""
        SELECT h.scheduled_at FROM rota.task_history h WHERE h.trigger = %(name)s
        UNION ALL SELECT r.scheduled_at FROM rota.run r JOIN rota.trigger t ON t.id = r.trigger_id WHERE t.name = %(name)s
        ORDER BY 1""".replace("%(name)s", "'" + trigger + "'"))]


def do(rota, *arguments):
    return json.loads(rota.run(*arguments, "--json").stdout)


def wait_fired(rota, trigger, since, limit=15):
    return wait_until(lambda: [at for at in fired(rota, trigger) if at >= since], limit,
                      lambda: f"a firing of {trigger} since {since}: {due(rota, trigger)}")


def exactly(rota, trigger, seconds):
    """Every occurrence it had was either fired, once, or counted."""
    state, occurrences = due(rota, trigger), fired(rota, trigger)
    assert state["state"] == "C", state
    assert len(occurrences) == len(set(occurrences)) == state["fired"], (trigger, state, occurrences)
    assert state["fired"] + state["missed"] == seconds, (trigger, state, occurrences)


# --- what stops ----------------------------------------------------------------------------------

@pytest.mark.parametrize("scope", [("trigger", "a"), ("job", "one"), ("source", "first"), ("all",)])
def test_a_pause_stops_at_once_on_every_node_and_nothing_else(rota, scope):
    rota.apply(job("one", every_second("a"), every_second("b")), job("two", every_second("c")), source="first")
    rota.apply(job("three", every_second("d")), source="second")
    stopped = {"trigger": "a", "job": "ab", "source": "abc", "all": "abcd"}[scope[0]]
    nodes = rota.start_nodes("n1", "n2", "n3")
    for name in "abcd":
        wait_fired(rota, name, clock(rota) - datetime.timedelta(minutes=1))
    assert do(rota, "pause", *scope)["triggers_changed"] == len(stopped)
    since = clock(rota)
    for name in set("abcd") - set(stopped):
        wait_fired(rota, name, since + datetime.timedelta(seconds=2))
    wait_until(lambda: clock(rota) > since + datetime.timedelta(seconds=2.5), 10)
    for name in stopped:
        assert due(rota, name)["paused"] and not [at for at in fired(rota, name) if at >= since]
    assert do(rota, "pause", *scope)["triggers_changed"] == 0
    again = clock(rota)
    assert do(rota, "resume", *scope)["triggers_changed"] == len(stopped)
    for name in "abcd":
        wait_fired(rota, name, again)
    for name in stopped:
        assert not [at for at in fired(rota, name) if since <= at < again]
        assert due(rota, name)["missed"] in (2, 3, 4)
        assert due(rota, name)["misfired"] == 0
    assert all(node.lives() for node in nodes)


def test_a_pause_survives_the_restart_of_all_nodes(rota):
    rota.apply(job("one", every_second("a")))
    node = rota.node()
    wait_fired(rota, "a", clock(rota) - datetime.timedelta(minutes=1))
    rota.run("pause", "job", "one")
    since = clock(rota)
    assert node.stop() == 0
    rota.node("n2")
    [run] = rota.enqueue("one")
    holds_for(lambda: not [at for at in fired(rota, "a") if at >= since] and rota.history(run) is None, 2)
    rota.run("resume", "job", "one")
    wait_fired(rota, "a", clock(rota))
    rota.wait_history(run)


@pytest.mark.parametrize("scope", [("source", "late"), ("all",)])
def test_a_pause_applies_to_what_is_added_later(rota, scope):
    rota.run("pause", *scope)
    rota.apply(job("one", every_second("a")), source="late")
    [run] = rota.enqueue("one")
    rota.node()
    holds_for(lambda: fired(rota, "a") == [] and rota.history(run) is None, 2)
    assert due(rota, "a")["paused"]
    assert do(rota, "resume", *scope)["triggers_changed"] == 1
    wait_fired(rota, "a", clock(rota))
    rota.wait_history(run)


def test_a_trigger_added_to_a_paused_job_is_paused(rota):
    rota.apply(job("one", every_second("a")))
    rota.run("pause", "job", "one")
    rota.apply(job("one", every_second("a"), every_second("b")))
    assert due(rota, "b")["paused"] and due(rota, "b")["paused_at"] is not None
    rota.run("resume", "job", "one")
    assert not due(rota, "b")["paused"]


def test_what_is_paused_by_another_name_too_stays_paused(rota):
    rota.apply(job("one", every_second("a"), every_second("b")))
    rota.run("pause", "trigger", "a")
    rota.run("pause", "source", "test")
    rota.run("pause", "all")
    assert do(rota, "resume", "all") == {"action": "resume", "scope": "all", "name": None, "triggers_changed": 0,
                                         "triggers_paused": 2, "runs_held": 0, "paused_by": ["source", "trigger"]}
    said = rota.run("resume", "source", "test").stdout
    assert said == 'resumed source "test": 1 trigger started; 1 trigger and 0 waiting runs stay paused, by trigger\n'
    assert due(rota, "a")["paused"] and not due(rota, "b")["paused"]
    assert do(rota, "resume", "trigger", "a")["triggers_changed"] == 1


# --- what fell meanwhile -------------------------------------------------------------------------

def test_what_was_due_before_the_pause_is_fired_and_what_fell_in_it_is_not(rota):
    """No node looks until all is over: the row alone remembers."""
    start = (int(time.time()) - 2) * 1000
    rota.apply(job("one", every_second("a", 60, start)))
    first = due(rota, "a")["next_at"]
    wait_until(lambda: clock(rota) > first + datetime.timedelta(seconds=1.5), 5)
    rota.run("pause", "trigger", "a")
    paused_at = due(rota, "a")["paused_at"]
    wait_until(lambda: clock(rota) > paused_at + datetime.timedelta(seconds=2.5), 5)
    rota.run("resume", "trigger", "a")
    state = due(rota, "a")
    assert (state["pass_from"], state["next_at"]) == (paused_at, first)
    rota.node()
    until = state["pass_until"]
    wait_fired(rota, "a", until + datetime.timedelta(seconds=1))
    occurrences = fired(rota, "a")
    inside = [at for at in occurrences if paused_at <= at < until]
    before = [at for at in occurrences if at < paused_at]
    assert inside == [] and before[0] == first and len(before) in (2, 3)
    assert due(rota, "a")["missed"] in (2, 3)


def test_a_pause_that_is_over_leaves_nothing_behind(rota):
    rota.apply(job("one", every_second("a")))
    rota.node()
    wait_fired(rota, "a", clock(rota) - datetime.timedelta(minutes=1))
    rota.run("pause", "trigger", "a")
    since = clock(rota)
    wait_until(lambda: clock(rota) > since + datetime.timedelta(seconds=1.2), 5)
    rota.run("resume", "trigger", "a")
    wait_fired(rota, "a", clock(rota))
    state = due(rota, "a")
    assert (state["paused_at"], state["pass_from"], state["pass_until"]) == (None, None, None)
    rota.run("pause", "all")
    assert due(rota, "a")["pass_from"] is None


def test_catch_up_lets_the_misfire_policy_decide(rota):
    rota.apply(job("one", every_second("a", misfire="fire_all", misfire_tolerance="0s"),
                   every_second("b", misfire="fire_once", misfire_tolerance="0s")))
    rota.node()
    for name in "ab":
        wait_fired(rota, name, clock(rota) - datetime.timedelta(minutes=1))
    rota.run("pause", "job", "one")
    since = clock(rota)
    wait_until(lambda: clock(rota) > since + datetime.timedelta(seconds=3.2), 10)
    until = clock(rota)
    rota.run("resume", "job", "one", "--catch-up")
    for name in "ab":
        wait_fired(rota, name, until)
    assert len([at for at in fired(rota, "a") if since <= at < until]) == 3
    assert len([at for at in fired(rota, "b") if since <= at < until]) <= 1
    assert due(rota, "a")["missed"] == 0 and due(rota, "b")["missed"] >= 2


def test_a_new_schedule_passes_over_what_fell_while_the_old_one_was_paused(rota):
    start = (int(time.time()) - 2) * 1000
    rota.apply(job("one", every_second("a", start_ms=start)))
    rota.run("pause", "trigger", "a")
    paused_at = due(rota, "a")["paused_at"]
    wait_until(lambda: clock(rota) > paused_at + datetime.timedelta(seconds=2.2), 5)
    rota.run("resume", "trigger", "a")
    until = due(rota, "a")["pass_until"]
    rota.apply(job("one", {"name": "a", "cron": "0 0 3 1 1 ?"}))
    assert [at for at in fired(rota, "a") if paused_at <= at < until] == []
    assert due(rota, "a")["missed"] in (2, 3) and due(rota, "a")["pass_until"] is None


# --- waiting runs --------------------------------------------------------------------------------

def test_waiting_runs_are_held_and_released(rota):
    rota.apply(job("one"), job("two"))
    early = rota.enqueue("one", "--in", "1s")
    later = rota.enqueue("one", "--in", "1h")
    assert do(rota, "pause", "job", "one")["runs_held"] == 2
    early += rota.enqueue("one")
    other = rota.enqueue("two")
    rota.node()
    rota.wait_history(other[0])
    holds_for(lambda: not any(rota.history(run) for run in early), 1.5)
    held = json.loads(rota.run("get", "runs", "one", "--json").stdout)["data"]
    assert [run["held"] for run in held] == ["paused"] * 3
    rota.run("resume", "job", "one")
    for run in early:
        assert rota.wait_history(run)["outcome"] == "success"
    assert rota.value("SELECT held IS NULL AND due > now() + interval '50 min' FROM rota.pending WHERE id = %s", later[0])


def test_a_paused_trigger_fires_by_hand_unless_its_job_is_paused(rota):
    rota.apply(job("one", {"name": "a", "cron": "0 0 3 1 1 ?"}))
    rota.node()
    rota.run("pause", "trigger", "a")
    rota.wait_history(int(rota.run("fire", "a").stdout))
    rota.run("pause", "job", "one")
    run = int(rota.run("fire", "a").stdout)
    holds_for(lambda: rota.history(run) is None, 1)
    rota.run("resume", "job", "one")
    rota.wait_history(run)


def test_a_run_that_waits_for_its_retry_is_held(rota, ledger):
    rota.apply({"name": "one", "handler": "exec", "durable": True, "data": ledger.shell("exit 1"),
                "retry": {"max_attempts": 2, "initial": "1s", "backoff": "fixed", "jitter": 0}})
    rota.node(exec_allow='["*"]')
    [run] = rota.enqueue("one")
    wait_until(lambda: ledger.count() == 1 and rota.value("SELECT count(*) FROM rota.pending"), 10)
    rota.run("pause", "all")
    holds_for(lambda: ledger.count() == 1, 2)
    rota.run("resume", "all")
    assert rota.wait_history(run)["attempt"] == 2 and ledger.count() == 2


def test_a_running_run_finishes_and_its_retry_waits(rota, ledger, tmp_path):
    gate = tmp_path / "gate"
    wait = f"while [ ! -e {gate} ]; do sleep 0.05; done; exit 1"
    rota.apply({"name": "one", "handler": "exec", "durable": True, "data": ledger.shell(wait),
                "retry": {"max_attempts": 2, "backoff": "fixed", "initial": "0s", "jitter": 0}})
    rota.node(exec_allow='["*"]')
    [run] = rota.enqueue("one")
    wait_until(lambda: ledger.count() == 1, 10)
    rota.run("pause", "job", "one")
    gate.touch()
    wait_until(lambda: rota.rows("SELECT FROM rota.pending WHERE held = 'P' AND attempt = 2"), 10)
    holds_for(lambda: ledger.count() == 1, 1)
    rota.run("resume", "job", "one")
    assert rota.wait_history(run)["attempt"] == 2


def test_a_run_enqueued_beside_the_pause_is_held_too(rota):
    """Its transaction began before the pause and ends after it."""
    rota.apply(job("one"))
    rota.node()
    with psycopg.connect(rota.url) as other:
        [run] = other.execute("""INSERT INTO rota.pending (route, due, job_id, scheduled_at)
                                 SELECT rota.route_of(j.handler, j.priority), now(), j.id, now() FROM rota.job j
                                 RETURNING id""").fetchone()
        rota.run("pause", "job", "one")
        other.execute("SELECT pg_notify('rota.wake', '')")
        other.commit()
    wait_until(lambda: rota.rows("SELECT FROM rota.pending WHERE id = %s AND held = 'P'", run), 10,
               lambda: f"the run to be held: {rota.where(run)} {rota.history(run)}")
    rota.run("resume", "job", "one")
    rota.wait_history(run)


# --- what is refused -----------------------------------------------------------------------------

def test_a_run_enqueued_beside_the_resume_is_not_held_for_ever(rota):
    """It saw the pause, the resume did not see it."""
    rota.apply(job("one"))
    rota.run("pause", "job", "one")
    node = rota.node(heartbeat="500ms")
    with psycopg.connect(rota.url) as slow:
        slow.execute("INSERT INTO rota.pending (route, due, job_id, scheduled_at, held, held_due) "
                     "SELECT rota.route_of(j.handler, j.priority), 'infinity', j.id, now(), 'P', now() "
                     "FROM rota.job j WHERE j.held")
        rota.run("resume", "job", "one")
        slow.commit()
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history") == 1, 12, lambda: rota.open_work())
    assert node.lines("held runs released")
    rota.run("pause", "job", "one")
    rota.enqueue("one")
    holds_for(lambda: rota.value("SELECT held FROM rota.run") == "paused", 6, "what is paused to stay so")


@pytest.mark.parametrize("arguments, code, said", [
    (("pause", "trigger", "night"), 4, 'no trigger is called "night": did you mean "nightly"?'),
    (("pause", "job", "xyz"), 4, 'no job is called "xyz"; `rota get jobs` lists them'),
    (("resume", "source", "nowhere"), 4, 'no job is of source "nowhere"'),
    (("pause", "triger", "x"), 2, 'did you mean trigger?'),
    (("pause",), 2, "what?"),
    (("pause", "job"), 2, "which job?"),
    (("pause", "all", "x"), 2, "takes no name"),
    (("pause", "job", "a", "b"), 2, "a second one"),
    (("pause", "job", ""), 2, "empty"),
    (("pause", "all", "--catch-up"), 2, "--catch-up"),
    (("pause", "all", "--wait", "soon"), 2, "no duration"),
])
def test_a_wrong_call_is_told_what_would_be_right(rota, arguments, code, said):
    rota.apply(job("reports", {"name": "nightly", "cron": "0 0 3 * * ?"}))
    done = rota.run(*arguments, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_while_an_apply_runs_a_pause_waits_with_a_bound(rota):
    rota.apply(job("one", every_second("a")))
    with psycopg.connect(rota.url) as apply:
        apply.execute(LOCK)
        done = rota.run("pause", "job", "one", "--wait", "300ms", check=False)
        assert done.returncode == 5 and "300ms" in done.stderr and not due(rota, "a")["paused"]
        with pytest.raises(psycopg.errors.LockNotAvailable):
            rota.value("SELECT rota.pause('all')")
        waiting = threading.Thread(target=rota.run, args=("pause", "job", "one"))
        waiting.start()
        wait_until(lambda: rota.rows("SELECT FROM pg_stat_activity WHERE application_name = 'rota pause' "
                                     "AND datname = current_database()"), 10)
        apply.rollback()
        waiting.join(15)
    assert due(rota, "a")["paused"]


def test_sql_can_pause_and_resume(rota):
    rota.apply(job("one", every_second("a"), every_second("b")))
    assert rota.value("SELECT rota.pause('trigger', 'a')") == 1
    assert rota.value("SELECT rota.pause('job', 'one')") == 1
    assert rota.value("SELECT rota.resume('job', 'one', true)") == 1
    assert rota.value("SELECT rota.pause('job', 'nobody')") is None
    for wrong in ("'jobs', 'one'", "'job'", "'all', 'one'", "NULL"):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            rota.value(f"SELECT rota.pause({wrong})")


# --- all at once ---------------------------------------------------------------------------------

class Stormer(threading.Thread):
    """Pauses and resumes what is its own alone, and remembers from when until when."""

    def __init__(self, rota, seed, scopes, until):
        super().__init__()
        self.random = random.Random(seed)
        self.url, self.scopes, self.until = rota.url, scopes, until
        self.stretches = []  # (scope, name, paused by then, not resumed before)
        self.failure = None

    def call(self, db, function, *arguments):
        while True:
            try:
                marks = ", ".join(["%s"] * len(arguments))
                return db.execute(f"SELECT rota.{function}({marks})", arguments).fetchone()[0]
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
                assert not isinstance(error, psycopg.errors.DeadlockDetected), "a pause met a deadlock"

    def rest(self, low, high):
        wait_for_clock(time.time() + self.random.uniform(low, high))

    def storm(self, db):
        now = "SELECT clock_timestamp()"
        while time.time() < self.until:
            scope, name, least = self.random.choice(self.scopes)
            self.rest(0, least)
            assert self.call(db, "pause", scope, name) is not None
            since = db.execute(now).fetchone()[0]
            self.rest(0, 0.8)
            until = db.execute(now).fetchone()[0]
            assert self.call(db, "resume", scope, name) is not None
            self.stretches.append((scope, name, since, until))

    def run(self):
        try:
            with psycopg.connect(self.url, autocommit=True) as db:
                self.storm(db)
        except BaseException as error:  # shown by the test
            self.failure = error


def test_a_storm_of_pauses_loses_nothing_and_fires_nothing_twice(rota):
    seconds, sources, jobs, triggers = 18, 2, 5, 20
    start = (int(time.time()) + 4) * 1000
    names = {}
    for s in range(sources):
        declared = []
        for j in range(jobs):
            mine = [f"s{s}-j{j}-t{t}" for t in range(triggers)]
            names.update({name: (f"s{s}-j{j}", f"s{s}") for name in mine})
            policy = {"misfire": "fire_all", "misfire_tolerance": "0s"} if j == 1 else {}  # nearly all are made up, and paced
            lane = {"concurrency": {"limit": 2}} if j == 2 else {}
            declared.append(job(f"s{s}-j{j}", *(every_second(name, seconds, start + t * 50, **policy)
                                                for t, name in enumerate(mine)), **lane))
        rota.apply(*declared, source=f"s{s}")
    rota.start_nodes("n1", "n2", "n3")
    seed = random.randrange(10 ** 6)
    end = start / 1000 + seconds - 2
    some = random.Random(seed).sample(sorted(names), 40)
    stormers = [Stormer(rota, seed, [("trigger", name, 0.1) for name in some], end),
                Stormer(rota, seed + 1, [("job", name, 0.3) for name in sorted({job for job, _ in names.values()})], end),
                Stormer(rota, seed + 2, [("source", f"s{s}", 1) for s in range(sources)], end),
                Stormer(rota, seed + 3, [("all", None, 3)], end)]
    for stormer in stormers:
        stormer.start()
    for stormer in stormers:
        stormer.join(seconds + 60)
        assert stormer.failure is None, f"seed {seed}: {stormer.failure!r}"
    rota.wait_idle(60)
    stretches = [stretch for stormer in stormers for stretch in stormer.stretches]
    assert len(stretches) > 20
    by_trigger = {name: [] for name in names}
    for name, at in rota.rows("SELECT h.trigger, h.scheduled_at FROM rota.task_history h"):
        by_trigger[name].append(at)
    missed = 0
    for name, (of_job, of_source) in names.items():
        exactly(rota, name, seconds)
        missed += due(rota, name)["missed"]
        for scope, what, since, until in stretches:
            if what in (None, name, of_job, of_source):
                wrong = [at for at in by_trigger[name] if since <= at < until]
                assert not wrong, f"seed {seed}: {name} fired {wrong} while {scope} {what} was paused from {since} to {until}"
    assert missed > 0
