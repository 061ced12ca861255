"""What the leader looks after for the queue: what expired, what was left behind, what nobody asks for any more."""

import psycopg
import pytest

from waiting import wait_until


@pytest.fixture
def declared(rota):
    rota.apply({"name": "job", "handler": "nobody-serves-this", "durable": True})
    return rota


def test_a_run_that_was_not_started_in_time_ends_as_expired_where_it_waits(declared):
    rota = declared
    rota.node("n1")
    run = rota.value("SELECT rota.enqueue('job', expires_in => '1 second')")
    stays = rota.value("SELECT rota.enqueue('job', expires_in => '1 hour')")
    entry = rota.wait_history(run, 15)
    assert (entry["status"], entry["outcome"], entry["started_at"]) == ("failed", "expired", None)
    assert rota.history(stays) is None
    wait_until(lambda: rota.rows("SELECT run_id FROM rota.run_extra") == [(stays,)], 10)


def test_what_runs_left_behind_that_are_over_is_removed(declared):
    """As of nodes of before the queue, which know of none of it."""
    rota = declared
    for number in range(250):
        rota.db.execute("INSERT INTO rota.run_extra (run_id) VALUES (%s)", [900000 + number])
        rota.db.execute("INSERT INTO rota.unique_key (job_id, key, run_id, until_started) VALUES (1, %s, %s, false)",
                        [str(number), 900000 + number])
    kept = rota.value("SELECT rota.enqueue('job', key => 'mine')")
    rota.node("n1", heartbeat="500ms")
    wait_until(lambda: rota.rows("SELECT run_id FROM rota.unique_key") == [(kept,)], 40)
    wait_until(lambda: rota.rows("SELECT run_id FROM rota.run_extra") == [(kept,)], 15)


def test_a_key_in_somebodys_hands_holds_up_no_end(declared):
    rota = declared
    run = rota.value("SELECT rota.enqueue('job', key => 'k')")
    with psycopg.connect(rota.url) as other:
        other.execute("SELECT FROM rota.unique_key WHERE key = 'k' FOR UPDATE")
        rota.db.execute("SET lock_timeout = '2s'")
        assert rota.value("SELECT rota.pending_end(ARRAY[%s]::bigint[], 'cancelled', 'no more')", run) == 1
    assert rota.value("SELECT count(*) FROM rota.unique_key") == 1, "left to the sweep"
    rota.node("n1", heartbeat="500ms")
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.unique_key") == 0, 15)


def test_what_was_settled_is_forgotten_with_the_history_before_it(declared):
    rota = declared
    rota.db.execute("INSERT INTO rota.settled (run_id, settled_at) VALUES (1, now() - interval '3 days'), (2, now())")
    assert rota.value("SELECT rota.settled_trim()") == 1
    assert rota.rows("SELECT run_id FROM rota.settled") == [(2,)]


def test_requests_that_nobody_can_obey_any_more_are_dropped(declared):
    rota = declared
    rota.db.execute("INSERT INTO rota.cancel_request (run_id, reason) VALUES (424242, 'long over')")
    waits = rota.enqueue("job")[0]
    rota.db.execute("INSERT INTO rota.cancel_request (run_id, reason) VALUES (%s, 'it was on its way back')", [waits])
    rota.node("n1")
    entry = rota.wait_history(waits, 15)
    assert (entry["outcome"], entry["details"]["message"]) == ("cancelled", "it was on its way back")
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.cancel_request") == 0, 10)
