"""/api/events: what changed, in one order for all nodes, to be gone on with from any place."""

import datetime
import signal
import socket
from urllib.parse import urlsplit

import pytest

from event_reader import Events
from manifests import job, make_due, trigger
from metrics import Numbers
from waiting import holds_for, wait_until

FAILING = dict(handler="exec", data={"command": ["/bin/false"]})


def node_of(rota, name="n1", **settings):
    return rota.node(name, exec_allow="/bin/*", **settings)


@pytest.fixture
def read():
    """Starts readers: read(node, last)."""
    made = []

    def start(node, last=None, token=None):
        made.append(Events(node, last, token))
        return made[-1]
    yield start
    for events in made:
        events.close()


def places(ids):
    return [tuple(int(part) for part in place.split(".")) for place in ids]


def test_a_run_is_seen_to_start_and_to_finish(rota, read):
    rota.apply(job("good", durable=True), job("bad", durable=True, **FAILING))
    node = node_of(rota)
    events = read(node, "0")
    [good], [bad] = rota.enqueue("good"), rota.enqueue("bad")
    [started] = events.wait("run.started", run=good)
    assert (started["job"], started["node"]) == ("good", "n1")
    [finished] = events.wait("run.finished", run=good)
    assert (finished["status"], finished["outcome"]) == ("success", "success")
    [failed] = events.wait("run.finished", run=bad)
    assert (failed["status"], failed["outcome"], failed["job"]) == ("failed", "failed", "bad")
    datetime.datetime.fromisoformat(failed["at"].replace("Z", "+00:00"))


def test_every_run_of_several_nodes_is_told_once_and_in_one_order(rota, read):
    rota.apply(job("good", durable=True))
    nodes = [node_of(rota, f"n{i}") for i in range(3)]
    readers = [read(node, "0") for node in nodes]
    runs = []
    for _ in range(5):
        runs += rota.value("SELECT rota.enqueue_many('good', array_fill('{}'::jsonb, ARRAY[200]))")
    for events in readers:
        events.wait("run.finished", len(runs), limit=60)
        for kind in ("run.started", "run.finished"):
            assert sorted(event["run"] for event in events.of(kind)) == sorted(runs)
        told = [(data["run"], kind) for _, kind, data in events.seen if kind.startswith("run.")]
        place = {event: number for number, event in enumerate(told)}
        assert all(place[run, "run.started"] < place[run, "run.finished"] for run in runs)
        assert places(events.ids()) == sorted(set(places(events.ids())))
    same = [[seen for seen in events.seen if seen[1].startswith("run.")] for events in readers]
    assert same[0] == same[1] == same[2]


@pytest.mark.parametrize("cut", [0, 1, 7, 299, 300, 501])
def test_a_reader_goes_on_after_the_last_id_it_has_seen(rota, read, cut):
    rota.apply(job("good", durable=True))
    node = node_of(rota)
    rota.value("SELECT rota.enqueue_many('good', array_fill('{}'::jsonb, ARRAY[300]))")
    first = read(node, "0")
    first.wait("run.finished", 300)
    first.close()
    at = first.ids()[cut]
    second = read(node, at)
    wanted = [place for place in first.ids() if places([place]) > places([at])]
    wait_until(lambda: len(second.ids()) >= len(wanted), why="the rest")
    assert second.ids()[:len(wanted)] == wanted


def test_without_an_id_a_reader_sees_what_happens_from_now_on(rota, read):
    rota.apply(job("good", durable=True))
    node = node_of(rota)
    [before] = rota.enqueue("good")
    read(node, "0").wait("run.finished", run=before)
    events = read(node)
    wait_until(lambda: Numbers(node).get("rota_events_written_total"), why="a turn of the loop")
    holds_for(lambda: not events.seen, 1.2)
    [after] = rota.enqueue("good")
    events.wait("run.finished", run=after)
    assert not events.of("run.finished", run=before)


def test_a_reader_that_is_cut_off_before_its_first_event_misses_none(rota, read):
    rota.apply(job("good", durable=True))
    node = node_of(rota)
    read(node, "0").wait("node.state", state="running")
    first = read(node)
    wait_until(lambda: first.last is not None, why="where to go on")
    first.close()
    [meanwhile] = rota.enqueue("good")
    rota.wait_history(meanwhile)
    read(node, first.last).wait("run.finished", run=meanwhile)


@pytest.mark.parametrize("ends", ["the token is revoked", "a first token is made"])
def test_a_reader_ends_when_it_may_not_read_any_more(rota, read, ends):
    made = None
    if ends == "the token is revoked":
        rota.run("token", "create", "other", "--scope", "monitor")
        made = rota.run("token", "create", "reader", "--scope", "monitor").stdout.strip()
    node = rota.node("n1", "--standby", ready=False)
    wait_until(lambda: node.http("/readyz")[1] == "standing by\n", 15, "the node to stand by")
    events = read(node, token=made)
    assert events.status == 200
    holds_for(lambda: not events.ended, 3)
    rota.run("token", *(["revoke", "reader"] if made else ["create", "reader", "--scope", "monitor"]))
    wait_until(lambda: events.ended, 15, "the end")
    assert events.seen[-1][1] == "end" and "token" in events.seen[-1][2]["reason"]


@pytest.mark.parametrize("last", ["x", "-1", "1.x", "1.", "99999999999999999999", "1.2.3", "."])
def test_an_id_that_can_be_none_is_refused(rota, read, last):
    refused = read(node_of(rota), last)
    assert refused.status == 400 and "Last-Event-ID" in refused.text


def test_retries_triggers_and_nodes_are_told_of(rota, read):
    rota.apply(job("again", durable=True, retry={"max_attempts": 2, "backoff": "immediate"}, **FAILING),
               job("old", trigger("t", every="1h")))
    make_due(rota, "t", datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=3, minutes=1))
    node = node_of(rota)
    events = read(node, "0")
    [run] = rota.enqueue("again")
    [put_back] = events.wait("run.put_back", run=run)
    assert put_back["outcome"] == "failed"
    events.wait("run.finished", run=run, status="failed")
    [misfired] = events.wait("trigger.misfired", trigger="t")
    assert misfired["made_up"] == 1 and misfired["missed"] >= 2
    events.wait("node.state", state="running", node="n1")


def test_commands_are_told_of_by_what_they_change(rota, read):
    node = node_of(rota)
    events = read(node, "0")
    rota.apply(job("a", trigger("t", cron="0 0 0 1 1 ? 2099")), job("b", durable=True))
    events.wait("job.created", names=["a", "b"], count=1)
    events.wait("trigger.created", names=["t"])
    rota.run("pause", "job", "a")
    events.wait("job.changed", names=["a"])
    rota.run("pause", "all")
    events.wait("fleet.paused")
    rota.run("resume", "all")
    events.wait("fleet.resumed")
    rota.run("standby", "n1")
    events.wait("node.asked", wish="standby")
    events.wait("node.state", state="standby")
    rota.run("delete", "job", "b")
    events.wait("job.deleted", names=["b"])


def test_the_last_words_of_a_node_are_written(rota, read):
    rota.apply(job("good", durable=True))
    node = node_of(rota)
    other = node_of(rota, "n2", disable_scheduler="true")
    events = read(other, "0")
    [run] = rota.enqueue("good")
    rota.wait_history(run)
    node.stop()
    events.wait("node.state", node="n1", state="draining")
    events.wait("run.finished", run=run)


def test_a_node_that_dies_is_told_of(rota, read):
    rota.apply(job("long", durable=True, handler="exec", data={"command": ["/bin/sleep", "60"]}))
    node = node_of(rota, "n1", lease="2s", heartbeat="500ms")
    rota.enqueue("long")
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.receipt") == 1, why="the claim")
    events = read(node_of(rota, "n2", lease="2s", heartbeat="500ms"), "0")
    node.kill()
    [recovered] = events.wait("node.recovered", dead_node="n1")
    assert (recovered["node"], recovered["put_back"]) == ("n2", 1)


def test_readers_end_with_their_node_and_are_told(rota, read):
    node = node_of(rota)
    events = read(node, "0")
    events.wait("node.state", state="running")
    node.stop()
    wait_until(lambda: events.ended, why="the end")
    assert events.seen[-1][1] == "end" and "stops" in events.seen[-1][2]["reason"]


def test_what_is_not_kept_any_more_is_said(rota, read):
    rota.apply(job("good", durable=True))
    node = node_of(rota)
    events = read(node, "0")
    events.wait("run.finished", run=rota.enqueue("good")[0])
    last = events.ids()[-1]
    for _ in range(6):  # round the ring and more
        wait_until(lambda: rota.value("SELECT rota.event_turn(4)"), why="nobody else writes")
        rota.wait_history(rota.enqueue("good")[0])
        wait_until(lambda: rota.value("SELECT count(*) FROM rota.event e, rota.event_ring r WHERE e.slot = r.slot"),
                   why="something in the new part")
    late = read(node, last)
    [lost] = late.wait("events.lost")
    assert "not kept" in lost["reason"]
    late.wait("run.finished")


def test_an_id_of_another_log_is_said_to_be_lost(rota, read):
    node = node_of(rota)
    read(node, "0").wait("node.state", state="running")
    late = read(node, "1000000.5")
    late.wait("events.lost")
    rota.apply(job("good", durable=True))
    late.wait("run.finished", run=rota.enqueue("good")[0])


def test_the_log_is_bounded(rota):
    """Each part holds a quarter; the oldest is emptied when the newest is full."""
    rota.db.execute("INSERT INTO rota.event (slot, changes, body) SELECT 0, 1, repeat(md5(i::text), 100) "
                    "FROM generate_series(1, 2000) i")
    size = "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'rota.event'::regclass"
    for _ in range(12):
        assert rota.value("SELECT rota.event_turn(%s)", 4 * 65536)
        rota.db.execute("INSERT INTO rota.event (slot, changes, body) SELECT slot, 1, "
                        "(SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 50) j) "
                        "FROM rota.event_ring, generate_series(1, 200) i")
    assert rota.value(size) < 8 * 400 * 1024
    assert rota.value("SELECT forgotten FROM rota.event_ring") > 0


def test_a_reader_that_does_not_read_is_ended_and_hurts_nobody(rota, read):
    """What is not taken is not added to without end."""
    rota.apply(job("good", durable=True))
    node = node_of(rota)
    address = urlsplit(node.http_url())
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect((address.hostname, address.port))
        stuck.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\n\r\n")
        events = read(node, "0")
        before = Numbers(node).get("process_resident_memory_bytes")
        runs = 0
        for _ in range(20):
            runs += len(rota.value("SELECT rota.enqueue_many('good', array_fill('{}'::jsonb, ARRAY[1000]))"))
        events.wait("run.finished", runs, limit=100)
        assert Numbers(node).get("process_resident_memory_bytes") - before < 64e6


def test_a_database_that_was_away_loses_no_event(rota, read):
    rota.apply(job("good", durable=True))
    node = node_of(rota)
    events = read(node, "0")
    runs = []
    for _ in range(10):
        runs += rota.value("SELECT rota.enqueue_many('good', array_fill('{}'::jsonb, ARRAY[100]))")
        rota.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
                   "AND application_name LIKE 'rota session%%'")
        wait_until(lambda: Numbers(node).get("rota_database_connection_up", connection="session") == 1, why="it is back")
    rota.wait_idle()
    events.wait("run.finished", len(runs), limit=60)
    assert sorted(event["run"] for event in events.of("run.finished")) == sorted(runs)
    assert Numbers(node).get("rota_events_lost_total") == 0


def test_nothing_is_asked_while_nobody_reads(rota, read):
    node = node_of(rota)
    asked = "SELECT coalesce(max(query_start) FILTER (WHERE query LIKE '%%event_ring r LEFT JOIN%%'), 'epoch') " \
            "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'rota serve'"
    events = read(node, "0")
    events.wait("node.state", state="running")
    events.close()
    wait_until(lambda: rota.value(asked) is not None, why="a question")
    node.send(signal.SIGCONT)  # nothing
    last = []

    def quiet():
        last.append(rota.value(asked))
        return len(last) > 1 and last[-1] == last[-2]
    wait_until(quiet, limit=10, pause=1.5, why="no question for three times the pause between them")
