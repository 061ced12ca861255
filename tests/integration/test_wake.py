"""How nodes come to hear of work: by a notification where the fleet is idle, by looking where it is busy;
and nothing waits for longer than `poll` whatever goes wrong with either."""

import concurrent.futures
import os
import signal
import time

import psycopg
import pytest

from ledger import Ledger
from waiting import holds_for, wait_until

FULL = os.environ.get("ROTA_TEST_FULL") == "1"


class Listener:
    """Counts notifications from now on."""

    def __init__(self, rota):
        self.db = psycopg.connect(rota.url, autocommit=True)
        self.found = []
        self.db.add_notify_handler(lambda notify: self.found.append(notify.payload))
        self.db.execute('LISTEN "rota.wake"')

    def heard(self):
        self.db.execute("SELECT 1")  # the server sends what there is before it answers
        found, self.found = self.found, []
        return found

    def close(self):
        self.db.close()


def enqueue(db, job, data="{}"):
    return db.execute("SELECT rota.enqueue(%s, %s::jsonb)", [job, data]).fetchone()[0]


def bulk(rota, job, count):
    rota.db.execute("SELECT rota.enqueue_many(%s, array_fill('{}'::jsonb, ARRAY[%s]))", [job, count])


def busy(rota):
    return rota.value("SELECT busy_until > clock_timestamp() FROM rota.busy")


def wait_drained(rota, limit=60):
    wait_until(lambda: rota.value("SELECT NOT EXISTS (SELECT FROM rota.run) AND NOT EXISTS (SELECT FROM rota.receipt)"),
               limit, "the end of all runs", pause=0.05)


def start_of(ledger, run, limit=15):
    return wait_until(lambda: next((entry for entry in ledger.entries() if entry.run == run), None), limit,
                      f"run {run} to start", pause=0.005)


def delay_of(rota, ledger, job="job", limit=15):
    """From the commit of an enqueueing to the start of its run."""
    run, at = enqueue(rota.db, job), time.time()
    return start_of(ledger, run, limit).clock - at


def test_an_idle_fleet_starts_what_is_enqueued_within_milliseconds(rota, ledger):
    rota.start_nodes("n1", "n2", "n3", pools=ledger.pool(slots=4))
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    delay_of(rota, ledger)
    sent, count = {}, 300 if FULL else 100
    for _ in range(count):
        run, at = enqueue(rota.db, "job"), time.time()
        sent[run] = at
        start_of(ledger, run)
    started = {entry.run: entry.clock for entry in ledger.entries()}
    delays = sorted(started[run] - at for run, at in sent.items())
    print(f"enqueue to start: median {delays[count // 2] * 1000:.1f} ms, 99 % {delays[count * 99 // 100] * 1000:.1f} ms")
    assert delays[count * 99 // 100 - 1] < 0.05
    assert not busy(rota), "single runs make nobody busy"


def test_a_mark_does_not_outlive_the_work_it_was_set_for(rota):
    """Runs that fill the only slot one after the other may set it; whoever enqueues then has to tell an idle node."""
    rota.start_nodes("n1", slots=1)
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    with psycopg.connect(rota.url, autocommit=True) as db:
        for done in range(1, 101):
            enqueue(db, "job")
            wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history") == done, 10)
        wait_until(lambda: not busy(rota), 0.9, "no mark")


def test_a_busy_fleet_costs_no_notifications_and_an_idle_one_is_told_again(rota):
    rota.start_nodes("n1", "n2", slots=32)
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    bulk(rota, "job", 50000)
    wait_until(lambda: busy(rota), 10, "a busy mark")
    listener = Listener(rota)
    enqueued = []

    def add():
        with psycopg.connect(rota.url, autocommit=True) as db:
            while rota_left() > 3000:
                for _ in range(20):
                    enqueued.append(enqueue(db, "job"))

    def rota_left():
        with psycopg.connect(rota.url, autocommit=True) as db:
            return db.execute("SELECT count(*) FROM (SELECT FROM rota.run LIMIT 5000) r").fetchone()[0]

    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: add(), range(3)))
    heard = listener.heard()
    print(f"{len(enqueued)} enqueued while the fleet was busy: {len(heard)} notifications {set(heard)}")
    assert len(enqueued) > 500
    assert len(heard) <= len(enqueued) // 100
    wait_drained(rota)
    wait_until(lambda: not busy(rota), 3, "the mark to be gone")
    listener.heard()
    enqueue(rota.db, "job")
    wait_until(lambda: "" in listener.heard(), 1)
    listener.close()
    wait_drained(rota, 2)


def test_who_is_of_no_use_to_the_busy_node_is_not_forgotten(rota, ledger, tmp_path):
    """One node is busy with what only it serves, another idles."""
    os.mkdir(tmp_path / "load")
    load = Ledger(tmp_path / "load").pool(slots=64, handler="load")
    busy_node = rota.node("n1", pools=load, lease="4s", restart_delay="1s")
    rota.node("n2", pools=ledger.pool(slots=4), lease="4s", restart_delay="1s")
    rota.apply({"name": "load", "handler": "load", "durable": True}, {"name": "job", "handler": "ledger", "durable": True})
    delay_of(rota, ledger)
    bulk(rota, "load", 60000)
    wait_until(lambda: busy(rota), 10, "a busy mark")
    while_busy = [delay_of(rota, ledger) for _ in range(8)]
    assert busy(rota)
    busy_node.kill(signal.SIGKILL)
    after_death = [delay_of(rota, ledger) for _ in range(5)]
    print(f"while another is busy {max(while_busy) * 1000:.0f} ms, after its death {max(after_death) * 1000:.0f} ms")
    assert max(while_busy) < 0.6
    assert max(after_death) < 0.6


@pytest.mark.parametrize("mark", ["now() + interval '1.2 s'", "now() + interval '1 hour'", "'infinity'"])
def test_a_mark_that_nobody_stands_by_holds_up_nothing(rota, ledger, mark):
    """As of a node that died right after it, or of a clock that was set back."""
    rota.node("n1", pools=ledger.pool(slots=4))
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    delay_of(rota, ledger)
    rota.db.execute(f"UPDATE rota.busy SET busy_until = {mark}")
    delay = delay_of(rota, ledger)
    print(f"{delay * 1000:.0f} ms")
    assert delay < 4, "a heartbeat looks"
    wait_until(lambda: delay_of(rota, ledger) < 0.3, 5)


def test_who_saw_the_mark_and_commits_later_waits_for_a_look_not_for_a_heartbeat(rota, ledger):
    rota.node("n1", slots=16, pools=ledger.pool(slots=4))
    rota.apply({"name": "load", "handler": "noop", "durable": True}, {"name": "job", "handler": "ledger", "durable": True})
    bulk(rota, "load", 20000)
    wait_until(lambda: busy(rota), 10, "a busy mark")
    with psycopg.connect(rota.url) as db:
        run = enqueue(db, "job")  # not told
        wait_drained_but = "SELECT count(*) FROM rota.pending p JOIN rota.job j ON j.id = p.job_id AND j.name = 'load'"
        wait_until(lambda: rota.value(wait_drained_but) == 0 and not busy(rota), 60, "the end of the load")
        db.commit()
        at = time.time()
    delay = start_of(ledger, run).clock - at
    print(f"{delay * 1000:.0f} ms")
    assert delay < 0.6


def test_the_mark_waits_for_nobody_and_ends_by_itself(rota):
    rota.node("n1", slots=16)
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    with psycopg.connect(rota.url) as db:
        db.execute("SELECT FROM rota.busy FOR UPDATE")
        bulk(rota, "job", 5000)
        wait_drained(rota, 20)
        assert not busy(rota)
    wait_until(lambda: bulk(rota, "job", 20000) or busy(rota), 20, "a busy mark")  # they are gone in a moment
    rota.nodes[0].kill(signal.SIGKILL)
    wait_until(lambda: not busy(rota), 3, "the mark to end")
    holds_for(lambda: not busy(rota), 0.5)


def test_notify_off_in_a_session_tells_nobody_and_the_run_starts_all_the_same(rota, ledger):
    rota.node("n1", pools=ledger.pool(slots=4))
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    delay_of(rota, ledger)
    listener = Listener(rota)
    rota.db.execute("SET rota.notify = off")
    assert delay_of(rota, ledger) < 6
    assert listener.heard() == []
    listener.close()


def test_a_trigger_due_before_what_was_fired_last_is_found_all_the_same(rota):
    """Claims start where the last one ended. One that somebody made due behind that, and told nobody of, waits for
    a look from the start, not for its next occurrence; be it that others of its route fire all the time."""
    rota.apply({"name": "job", "handler": "noop", "triggers": [
        {"name": f"busy-{number}", "every": "200ms"} for number in range(5)] + [{"name": "behind", "every": "1d"}]})

    def runs(trigger):
        return rota.value("SELECT count(*) FROM rota.task_history WHERE trigger = %s", trigger)

    rota.node()
    for count in (runs("behind") + 1, runs("behind") + 2):
        wait_until(lambda: runs("busy-0") >= 10 * count, 30, "others of its route to be fired")
        rota.db.execute("UPDATE rota.trigger_due d SET next_at = d.next_at - interval '1 day', previous_at = NULL FROM rota.trigger t "
                        "WHERE t.id = d.trigger_id AND t.name = 'behind' AND d.next_at > now()")
        wait_until(lambda: runs("behind") >= count, 8, "the trigger that is due behind the bound to be fired")


def test_a_run_due_before_what_was_taken_last_is_found_while_an_old_snapshot_is_open(rota):
    """Claims of runs start where the last one ended as long as looks from the start take time. One that somebody
    put behind that, and told nobody of, waits for such a look; be it that others of its route never end."""
    rota.apply({"name": "job", "handler": "noop", "durable": True}, {"name": "late", "handler": "noop", "durable": True})

    def put(job, count, age):
        rota.db.execute("""INSERT INTO rota.pending (route, due, job_id, scheduled_at)
            SELECT rota.route_of(j.handler, j.priority), due, j.id, due
              FROM rota.job j, LATERAL (SELECT now() - %s::interval + g * interval '1 us' AS due FROM generate_series(1, %s) g) d
             WHERE j.name = %s""", [age, count, job])

    def ended():
        return rota.value("SELECT count(*) FROM rota.task_history WHERE task = 'late'")

    rota.node()
    with psycopg.connect(rota.url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM rota.fleet")
        for _ in range(6):  # enough that a look from the start is not quick any more
            put("job", 20000, "10 minutes")
            rota.db.execute("SELECT rota.wake('')")
            wait_until(lambda: rota.value("SELECT NOT EXISTS (SELECT FROM rota.pending)"), 30, "all to be taken")
        for count in (1, 2, 3):
            put("job", 20000, "1 minute")
            put("late", 1, "1 hour")
            wait_until(lambda: ended() == count, 8, "the run that is due behind the bound to be found")
