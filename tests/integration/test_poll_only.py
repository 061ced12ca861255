"""Nobody hears a notification: by setting, because they are lost on the way, or because LISTEN is refused. All still
happens within `poll` (at most 500 ms where a node knows that it is deaf), wishes with the next heartbeat."""

import time
from typing import NamedTuple

import pytest

from deaf_proxy import DeafProxy
from ledger import milliseconds
from locks import Holder
from waiting import wait_for_clock, wait_until

TAKES_S = 60

MARGIN_S = 0.5 # for processes on a busy machine to do what they do
HEARTBEAT_S = 2
REFUSED = "notifications are refused"


class Deaf(NamedTuple):
    how: str
    settings: dict
    poll: float


@pytest.fixture(params=["off", "lost", "refused"])
def deaf(rota, request):
    if request.param == "off":
        yield Deaf("off", {"notify": "false"}, 0.5)
        return
    proxy = DeafProxy(rota.url, refuse=request.param == "refused")
    lost = request.param == "lost"
    yield Deaf(request.param, {"session_database_url": proxy.url, **({"poll": "1s"} if lost else {})},
               1.0 if lost else 0.5)
    for node in rota.nodes:
        node.clean_up()
    proxy.close()
    if lost:
        assert proxy.dropped > 0, "there was nothing to be lost"


def started_at(rota, run):
    return milliseconds(rota.wait_history(run)["started_at"]) / 1000


def spread(delays):
    """Away from the beat of polls."""
    wait_for_clock(time.time() + 0.17 * (len(delays) % 4))


def test_enqueued_and_fired_runs_start_within_the_poll_on_new_routes_too(rota, deaf, ledger):
    node = rota.node("n1", pools=ledger.pool(), **deaf.settings)
    assert bool(node.lines(REFUSED)) == (deaf.how == "refused")
    delays = []
    for number in range(6): # each priority is a route that nobody has seen before
        rota.apply({"name": f"job-{number}", "handler": "ledger", "durable": True, "priority": 10 + number,
                    "triggers": [{"name": f"t-{number}", "cron": "0 0 3 1 1 ?"}]}, source=f"source-{number}")
        spread(delays)
        began = time.time()
        [run] = rota.enqueue(f"job-{number}")
        delays.append(started_at(rota, run) - began)
        rota.run("fire", f"t-{number}")
        wait_until(lambda fired=2 * number + 2: ledger.count() == fired, deaf.poll + MARGIN_S, "the firing",
                   pause=0.005)
    print(f"{deaf.how}: started after {[round(delay * 1000) for delay in delays]} ms")
    assert max(delays) < deaf.poll + MARGIN_S
    assert len(node.lines(REFUSED)) == (deaf.how == "refused")


def test_an_idle_node_hears_of_what_others_put_back(rota, deaf, ledger):
    """n2 has served nothing so far: it polls all the same."""
    first = rota.node("n1", pools=ledger.pool(slots=4), **deaf.settings)
    rota.apply({"name": "job", "handler": "ledger", "durable": True, "data": {"sleep": 30}})
    runs = rota.enqueue("job", "--count", "4")
    wait_until(lambda: ledger.count() == 4, 10, "all to begin")
    rota.node("n2", pools=ledger.pool(slots=4), **deaf.settings)
    rota.run("evict", "n1")
    wait_until(lambda: ledger.count() == 8, HEARTBEAT_S + deaf.poll + MARGIN_S, "n2 to take over")
    assert sorted(entry.run for entry in ledger.entries() if entry.node == "n2") == sorted(runs)
    first.clean_up()


def test_what_follows_in_a_lane_starts_within_the_poll(rota, deaf, ledger):
    rota.start_nodes("n1", "n2", pools=ledger.pool(slots=1), **deaf.settings)
    rota.apply({"name": "job", "handler": "ledger", "durable": True, "disallow_concurrent": True, "data": {"sleep": 0.1}},
               {"name": "other", "handler": "ledger", "durable": True, "data": {"sleep": 0.15}})
    runs = rota.enqueue("job", "--count", "8")
    for _ in range(8): # whoever leaves the lane has something else to do
        rota.enqueue("other")
    rota.wait_idle(30)
    begun = sorted(entry.clock for entry in ledger.entries() if entry.run in runs)
    gaps = [later - earlier - 0.1 for earlier, later in zip(begun, begun[1:])]
    print(f"{deaf.how}: gaps {[round(gap * 1000) for gap in gaps]} ms")
    assert len(begun) == 8 and min(gaps) >= 0 and max(gaps) < deaf.poll + 0.15 + MARGIN_S
    assert not [line for node in rota.nodes for line in node.lines("lanes woken late")]


def test_pauses_hold_at_once_and_their_end_is_seen_within_the_poll(rota, deaf, ledger):
    rota.node("n1", pools=ledger.pool(), **deaf.settings)
    rota.apply({"name": "job", "handler": "ledger", "triggers": [{"name": "t", "every": "1s"}]})
    wait_until(lambda: ledger.count() > 1, 10, "firings")
    rota.run("pause", "trigger", "t")
    paused, [at] = time.time(), rota.db.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    wait_for_clock(paused + 2.2)
    assert not [entry for entry in ledger.entries() if entry.scheduled > float(at) * 1000 + 100]
    rota.run("resume", "trigger", "t")
    resumed, before = time.time(), ledger.count()
    wait_until(lambda: ledger.count() > before, 1 + deaf.poll + MARGIN_S, "firings again")
    # a run that waited while its job was paused is due when it is resumed
    rota.run("pause", "job", "job")
    rota.enqueue("job")
    rota.run("resume", "job", "job")
    wait_until(lambda: not rota.rows("SELECT FROM rota.pending"), deaf.poll + MARGIN_S, "the run that waited")
    assert resumed > paused


def test_wishes_come_with_the_heartbeat(rota, deaf):
    node = rota.node("n1", **deaf.settings)
    for command, state in (("standby", "standby"), ("resume-node", "running")):
        rota.run(command, "n1", "--wait", f"{round((HEARTBEAT_S + MARGIN_S) * 1000)}ms")
        assert rota.rows("SELECT state FROM rota.node_state") == [(state,)]
    rota.run("drain", "n1", "--gone", "--wait", "5s")
    assert node.wait() == 0


@pytest.mark.parametrize("refuse", [False, True])
def test_a_cluster_lock_that_is_released_is_obtained_by_trying(rota, tmp_path, refuse):
    class Locks:
        directory = str(tmp_path)
        numbers = iter(range(100))

    Locks.rota = rota
    proxy = DeafProxy(rota.url, refuse=refuse)
    try:
        first = Holder(Locks, "name", session_database_url=proxy.url)
        first.began()
        second = Holder(Locks, "name", session_database_url=proxy.url)
        wait_for_clock(time.time() + 2) # its back-off has grown as far as it does
        first.let_go()
        began = second.began(5)[1]
        assert began - first.end_of_cmd() < 1.1 + MARGIN_S
        second.let_go()
        assert first.ended()[0] == second.ended()[0] == 0
        assert refuse or proxy.dropped > 0
    finally:
        proxy.close()
