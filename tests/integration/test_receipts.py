"""Where a run is, by the statements alone: claimed, completed, put back and recovered, each once,
in any order and against each other. No node runs here; the test is the nodes."""

import json
import random
import threading

import psycopg
import pytest

from fleet import Rota
from statements import array, run, same, text
from waiting import wait_until

HANDLERS = ("noop", "exec")


@pytest.fixture(scope="module")
def shared(shared_server, tmp_path_factory):
    rota = Rota(shared_server, tmp_path_factory.mktemp("receipts"))
    for handler in HANDLERS:
        for priority in (5, 6, 50):
            rota.db.execute("SELECT rota.route_of(%s, %s::smallint)", (handler, priority))
    yield rota
    rota.close()


class Nodes:
    """The database as two nodes use it, and what the test knows of it."""

    def __init__(self, rota):
        self.rota = rota
        self.db = rota.db
        self.job("plain")

    def value(self, query, *parameters):
        return self.rota.value(query, *parameters)

    def job(self, name, **columns):
        columns = {"source": "test", "handler": "noop", "definition": "", "revision": 1, **columns}
        return self.value(f"INSERT INTO rota.job (name, {', '.join(columns)}) "
                          f"VALUES (%s, {', '.join(['%s'] * len(columns))}) RETURNING id", name, *columns.values())

    def incarnation(self, node="n1"):
        self.db.execute("INSERT INTO rota.node (name) VALUES (%s) ON CONFLICT DO NOTHING", (node,))
        return self.value("INSERT INTO rota.incarnation (node, state, lease_until, version, host, pid) "
                          "VALUES (%s, 'running', now() + interval '1 hour', '1', 'host', 1) RETURNING id", node)

    def pending(self, job="plain", count=1, **columns):
        """Runs that wait; their ids."""
        columns = {"route": 1, "due": "now() - interval '1 second'", "scheduled_at": "now()", **columns}
        return [row[0] for row in self.rota.rows(
            f"INSERT INTO rota.pending (job_id, {', '.join(columns)}) SELECT j.id, {', '.join(map(str, columns.values()))} "
            "FROM rota.job j CROSS JOIN generate_series(1, %s) WHERE j.name = %s RETURNING id", count, job)]

    def claim(self, incarnation, room=100, routes=(1,), priorities=(5,), pools=None, db=None, slots=None):
        """[(fence, slot, id)]: run_claim returns a row a receipt."""
        receipts = run(db or self.db, "run_claim", array("integer", routes), array("smallint", priorities),
                       array("integer", pools or [0] * len(routes)), same("integer", room, len(routes)),
                       same("integer", room if slots is None else slots, len(routes)), incarnation,
                       *(same("timestamptz", None, len(routes)) for _ in range(3)))
        return [(row[0], slot, run_id) for row in receipts for slot, run_id in enumerate(row[1])]

    def complete(self, incarnation, claimed, status="success", db=None):
        """How many of the claimed rows were in time."""
        fences = sorted({row[0] for row in claimed})
        sizes = dict(self.rota.rows("SELECT fence, length(open) FROM rota.receipt"))
        masks = ["".join("1" if (fence, slot) in {row[:2] for row in claimed} else "0"
                         for slot in range(sizes.get(fence, 1))) for fence in fences]
        count = len(claimed)
        return run(db or self.db, "run_complete", incarnation, array("bigint", fences), array("varbit", masks),
                   array("integer", range(1, len(fences) + 1)), same("text", "plain", len(fences)), same("text", status, len(fences)),
                   same("text", status, len(fences)), same("smallint", 1, len(fences)), same("integer", 0, len(fences)),
                   same("boolean", False, len(fences)), array("integer", [fences.index(row[0]) + 1 for row in claimed]),
                   array("integer", [row[1] for row in claimed]), array("bigint", [row[2] for row in claimed]), None,
                   same("timestamptz", "2026-11-20T08:00Z", count), same("bigint", 1, count),
                   same("timestamptz", "2026-11-20T08:00Z", count), None, None, "'n1'")[0][0]

    def put_back(self, incarnation, claimed, delay_ms=0, attempts=0, crashes=0, recovering=False, entry=None):
        count = len(claimed)
        return run(self.db, "run_put_back", incarnation, array("bigint", [row[0] for row in claimed]),
                   array("integer", [row[1] for row in claimed]), same("bigint", delay_ms, count),
                   same("integer", attempts, count), same("integer", crashes, count),
                   same("boolean", recovering, count), same("jsonb", json.dumps(entry) if entry else None, count))[0][0]

    def recover(self, incarnation, db=None, lanes=True):
        return run(db or self.db, "node_recover", incarnation, "now()", None, lanes)

    def places(self):
        """{id: [where it is]} of all runs there are."""
        found = {}
        for place, query in (("pending", "SELECT id FROM rota.pending"), ("history", "SELECT id FROM rota.task_history"),
                             ("claimed", "SELECT o.id FROM rota.receipt r CROSS JOIN LATERAL rota.receipt_runs(r) o")):
            for (run_id,) in self.rota.rows(query):
                found.setdefault(run_id, []).append(place)
        return found

    def pending_row(self, run_id):
        return self.rota.rows("SELECT to_jsonb(p) FROM rota.pending p WHERE id = %s", run_id)[0][0]

    def history_row(self, run_id):
        return self.rota.rows("SELECT to_jsonb(h) FROM rota.task_history h WHERE id = %s", run_id)[0][0]


@pytest.fixture
def nodes(shared):
    yield Nodes(shared)
    shared.db.execute("TRUNCATE rota.job, rota.trigger, rota.trigger_due, rota.pending, rota.receipt, rota.incarnation, "
                      "rota.task_history CASCADE")


# --- claiming ---

def test_a_claim_moves_what_is_due_into_one_receipt(nodes):
    due = nodes.pending(count=5)
    later = nodes.pending(due="now() + interval '1 hour'")
    claimed = nodes.claim(nodes.incarnation())
    assert sorted(row[2] for row in claimed) == due
    assert len({row[0] for row in claimed}) == 1 and [row[1] for row in claimed] == list(range(5))
    assert nodes.places() == {**{run_id: ["claimed"] for run_id in due}, later[0]: ["pending"]}


def test_a_claim_that_finds_nothing_makes_no_receipt(nodes):
    assert nodes.claim(nodes.incarnation()) == []
    assert nodes.value("SELECT count(*) FROM rota.receipt") == 0


def test_no_more_is_claimed_than_there_is_room_for_in_each_pool(nodes):
    for route in (1, 2, 4):
        nodes.pending(count=10, route=route)
    claimed = nodes.claim(nodes.incarnation(), room=4, routes=(1, 2, 4), priorities=(5, 6, 5), pools=(0, 0, 1))
    routes = dict(nodes.rota.rows("SELECT o.route, count(*) FROM rota.receipt r, rota.receipt_runs(r) o GROUP BY 1"))
    assert len(claimed) == 8 and routes[4] == 4 and routes.get(1, 0) + routes.get(2, 0) == 4


def test_a_route_that_is_not_asked_for_is_left_alone(nodes):
    others = nodes.pending(count=3, route=4, due="now() - interval '1 day'")
    mine = nodes.pending(count=2)
    assert sorted(row[2] for row in nodes.claim(nodes.incarnation())) == mine
    assert all(nodes.places()[run_id] == ["pending"] for run_id in others)


def test_a_step_of_priority_is_worth_a_minute_of_waiting(nodes):
    """Routes 1, 2 and 3 have priorities 5, 6 and 50."""
    waited_long = nodes.pending(route=1, due="now() - interval '70 seconds'")
    higher = nodes.pending(route=2, due="now() - interval '5 seconds'")
    lower = nodes.pending(route=1, due="now() - interval '30 seconds'")
    highest = nodes.pending(route=3, due="now() - interval '1 second'")
    order = []
    incarnation = nodes.incarnation()
    for _ in range(4):
        order += [row[2] for row in nodes.claim(incarnation, room=1, routes=(1, 2, 3), priorities=(5, 6, 50))]
    assert order == highest + waited_long + higher + lower


@pytest.mark.parametrize("room", [1, 2, 7, 30, 100])
def test_a_claim_takes_the_first_of_all_routes_together(nodes, room):
    """Against sorting everything: the shortcuts of the statement leave nobody out."""
    dice = random.Random(room)
    for route in range(1, 7):
        for _ in range(dice.choice((0, 3, 60))):
            nodes.pending(route=route, due=f"now() - interval '{dice.randrange(1, 4000)}.{dice.randrange(1000)} seconds'")
    rank = "p.due - r.priority * interval '1 minute'"
    first = nodes.rota.rows(f"SELECT p.id FROM rota.pending p JOIN rota.route r ON r.id = p.route ORDER BY {rank} LIMIT %s", room)
    claimed = nodes.claim(nodes.incarnation(), room=room, routes=range(1, 7), priorities=(5, 6, 50) * 2)
    assert {row[2] for row in claimed} == {row[0] for row in first}


def test_triggers_that_are_due_earlier_keep_their_room(nodes):
    job = nodes.job("fired")
    for number in range(3):
        nodes.db.execute("""WITH made AS (INSERT INTO rota.trigger (job_id, name, kind, at, start_at, definition, revision)
                                          VALUES (%s, %s, 'at', now(), now(), '', 1) RETURNING id)
                            INSERT INTO rota.trigger_due (trigger_id, route, revision, next_at)
                            SELECT id, 1, 1, now() - interval '1 minute' FROM made""", (job, f"trigger {number}"))
    nodes.pending(count=10)
    assert len(nodes.claim(nodes.incarnation(), room=5)) == 2
    acquired = run(nodes.db, "trigger_acquire", "'{1}'", "'{5}'", "'{0}'", "'{5}'", "'{5}'", "false", "'{NULL}'", "'{NULL}'", "'{NULL}'")
    assert len(acquired) == 3


def test_two_nodes_never_claim_the_same_run(nodes):
    ids = nodes.pending(count=400)
    incarnations = [nodes.incarnation(f"n{number}") for number in range(4)]
    claimed = []

    def drain(incarnation):
        with psycopg.connect(nodes.rota.url, autocommit=True) as db:
            while rows := nodes.claim(incarnation, room=7, db=db):
                claimed.extend(row[2] for row in rows)

    threads = [threading.Thread(target=drain, args=(incarnation,)) for incarnation in incarnations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while rows := nodes.claim(incarnations[0]):  # what another held at its last look
        claimed.extend(row[2] for row in rows)
    assert sorted(claimed) == sorted(ids)


def test_data_comes_back_byte_for_byte(nodes):
    data = '{ "n" : 1234567890123456789 , "f":1.0e+05, "s":"\\u00E9\\/", "n":"twice" }'
    nodes.db.execute("INSERT INTO rota.pending (route, due, job_id, scheduled_at, data, checkpoint) "
                     "SELECT 1, now(), j.id, now(), %s::json, %s::json FROM rota.job j", (data, data))
    first, second = nodes.incarnation(), nodes.incarnation("n2")
    nodes.put_back(first, nodes.claim(first))
    assert nodes.recover(first) == [(0, 0, False)]
    claimed = nodes.claim(second)
    assert nodes.recover(second) == [(1, 0, False)]
    assert nodes.rota.rows("SELECT data::text, checkpoint::text FROM rota.pending") == [(data, data)]
    assert len(claimed) == 1


# --- completing ---

def test_a_completed_run_is_in_the_history_once_and_its_receipt_goes_with_the_last(nodes):
    ids = nodes.pending(count=3)
    incarnation = nodes.incarnation()
    claimed = nodes.claim(incarnation)
    before = nodes.rota.rows("SELECT ids, dues, data::text FROM rota.receipt")
    assert nodes.complete(incarnation, claimed[:2]) == 2
    assert nodes.value("SELECT open::text FROM rota.receipt") == "001"
    assert nodes.rota.rows("SELECT ids, dues, data::text FROM rota.receipt") == before, "the arrays never change"
    assert nodes.complete(incarnation, claimed[2:]) == 1
    assert nodes.value("SELECT count(*) FROM rota.receipt") == 0
    assert nodes.places() == {run_id: ["history"] for run_id in ids}


def test_completing_twice_writes_once(nodes):
    nodes.pending(count=3)
    incarnation = nodes.incarnation()
    claimed = nodes.claim(incarnation)
    assert nodes.complete(incarnation, claimed[:1]) == 1
    assert nodes.complete(incarnation, claimed[:1]) == 0
    assert nodes.complete(incarnation, claimed[:2]) == 1
    assert nodes.complete(incarnation, claimed) == 1
    assert nodes.complete(incarnation, claimed) == 0
    assert nodes.value("SELECT count(*) FROM rota.task_history") == 3


def test_nobody_completes_the_runs_of_another(nodes):
    nodes.pending(count=2)
    mine, other = nodes.incarnation(), nodes.incarnation("n2")
    claimed = nodes.claim(mine)
    assert nodes.complete(other, claimed) == 0
    assert nodes.value("SELECT open::text FROM rota.receipt") == "11"


def test_a_mask_of_another_size_is_no_mask_of_this_receipt(nodes):
    nodes.pending(count=2)
    incarnation = nodes.incarnation()
    fence = nodes.claim(incarnation)[0][0]
    assert nodes.complete(incarnation, [(fence, 0, 1), (fence + 1000, 0, 2)]) == 1
    done = run(nodes.db, "run_complete", incarnation, array("bigint", [fence]), array("varbit", ["111"]),
               *[same(kind, value, 1) for kind, value in (
                   ("integer", 1), ("text", "t"), ("text", "success"), ("text", "success"), ("smallint", 1), ("integer", 0),
                   ("boolean", False), ("integer", 1), ("integer", 1), ("bigint", 1), ("text", None), ("timestamptz", None),
                   ("bigint", None), ("timestamptz", "2026-11-20"), ("json", None), ("json", None))], "'n1'")
    assert done == [(0,)]


def test_a_run_put_back_or_recovered_cannot_be_completed_any_more(nodes):
    nodes.pending(count=2)
    incarnation = nodes.incarnation()
    claimed = nodes.claim(incarnation)
    assert nodes.put_back(incarnation, claimed[:1]) == 1
    assert nodes.complete(incarnation, claimed[:1]) == 0
    assert nodes.recover(incarnation) == [(1, 0, False)]
    assert nodes.complete(incarnation, claimed) == 0
    assert list(nodes.places().values()) == [["pending"], ["pending"]]


# --- putting back ---

def test_a_run_is_put_back_whole(nodes):
    nodes.db.execute("""INSERT INTO rota.pending (route, due, job_id, trigger_id, scheduled_at, enqueued_at, attempt, crashes,
                                                  missed, recovering, data, checkpoint, earlier)
                        SELECT 1, now() - interval '3 hours', j.id, 7, now() - interval '2 hours', now() - interval '1 hour', 3,
                               2, 5, true, '{"a": 1}', '{"b": 2}', '[{"attempt": 1}]' FROM rota.job j""")
    run_id = nodes.value("SELECT id FROM rota.pending")
    before = nodes.pending_row(run_id)
    incarnation = nodes.incarnation()
    assert nodes.put_back(incarnation, nodes.claim(incarnation)) == 1
    assert nodes.pending_row(run_id) == before


def test_what_is_said_of_the_attempt_goes_with_the_run(nodes):
    [run_id] = nodes.pending()
    incarnation = nodes.incarnation()
    entry = {"attempt": 1, "outcome": "crashed"}
    nodes.put_back(incarnation, nodes.claim(incarnation), delay_ms=90000, attempts=1, crashes=1, recovering=True, entry=entry)
    row = nodes.pending_row(run_id)
    assert (row["attempt"], row["crashes"], row["recovering"], row["earlier"]) == (2, 1, True, [entry])
    assert 80 < nodes.value("SELECT extract(epoch FROM due - now())::float FROM rota.pending") <= 90


def test_only_those_still_held_are_put_back(nodes):
    nodes.pending(count=4)
    mine, other = nodes.incarnation(), nodes.incarnation("n2")
    claimed = nodes.claim(mine)
    nodes.complete(mine, claimed[:1])
    assert nodes.put_back(other, claimed) == 0
    assert nodes.put_back(mine, claimed[:2]) == 1
    assert nodes.put_back(mine, claimed[:2]) == 0
    assert nodes.put_back(mine, [(claimed[0][0], slot) for slot in (-1, 4, 99)]) == 0, "bits that are not there"
    assert nodes.put_back(mine, claimed) == 2
    assert sorted(nodes.places().values()) == [["history"], ["pending"], ["pending"], ["pending"]]
    assert nodes.value("SELECT count(*) FROM rota.receipt") == 0


def test_a_receipt_nobody_remembers_is_put_back_whole(nodes):
    nodes.pending(count=5)
    mine, other = nodes.incarnation(), nodes.incarnation("n2")
    claimed = nodes.claim(mine, room=3)
    known = nodes.claim(mine)
    nodes.complete(mine, claimed[:1])
    fence = claimed[0][0]
    assert run(nodes.db, "receipt_put_back", other, array("bigint", [fence])) == [(0,)]
    assert run(nodes.db, "receipt_put_back", mine, array("bigint", [fence, fence + 1000])) == [(2,)]
    assert run(nodes.db, "receipt_put_back", mine, array("bigint", [fence])) == [(0,)]
    places = nodes.places()
    assert [places[row[2]] for row in claimed + known] == [["history"], ["pending"], ["pending"], ["claimed"], ["claimed"]]


def test_of_earlier_attempts_the_newest_20_are_kept(nodes):
    [run_id] = nodes.pending()
    incarnation = nodes.incarnation()
    for number in range(1, 26):
        nodes.put_back(incarnation, nodes.claim(incarnation), entry={"attempt": number})
    assert [entry["attempt"] for entry in nodes.pending_row(run_id)["earlier"]] == list(range(6, 26))


# --- recovering ---

def test_runs_of_the_dead_go_on_where_they_may_and_end_as_unknown_where_not(nodes):
    nodes.job("never", requests_recovery=False)
    nodes.job("always", requests_recovery=True)
    nodes.job("patient", requests_recovery=False, max_attempts=3)
    expected = {
        nodes.pending("plain")[0]: ("pending", 1),  # enqueued: recovered unless the job says otherwise
        nodes.pending("plain", trigger_id=7)[0]: ("history", 1),  # fired by a trigger: not unless it says so
        nodes.pending("never")[0]: ("history", 1),
        nodes.pending("always", trigger_id=7)[0]: ("pending", 1),
        nodes.pending("patient")[0]: ("pending", 2),  # an attempt is left
        nodes.pending("patient", attempt=3)[0]: ("history", 3),
    }
    dead = nodes.incarnation("dead")
    fence = nodes.claim(dead)[0][0]
    assert nodes.recover(dead) == [(3, 3, False)]
    assert nodes.places() == {run_id: [place] for run_id, (place, _) in expected.items()}
    for run_id, (place, attempt) in expected.items():
        if place == "pending":
            row = nodes.pending_row(run_id)
            assert row["recovering"] and row["attempt"] == attempt and row["crashes"] == 0
            assert row["earlier"][-1]["outcome"] == "lost" and row["earlier"][-1]["node"] == "dead"
        else:
            row = nodes.history_row(run_id)
            assert (row["status"], row["outcome"], row["node"], row["attempt"]) == ("unknown", "lost", "dead", attempt)
            assert row["fence"] == fence
    assert nodes.value("SELECT count(*) FROM rota.incarnation") == 0


def test_whoever_recovers_second_finds_nothing(nodes):
    nodes.pending(count=2)
    dead = nodes.incarnation()
    nodes.claim(dead)
    assert nodes.recover(dead) == [(2, 0, False)]
    assert nodes.recover(dead) == []
    with psycopg.connect(nodes.rota.url) as other:
        dead = nodes.incarnation()
        other.execute("SELECT FROM rota.recover(%s)", (dead,))
        assert nodes.recover(dead) == [], "while the other is still at it"
        other.commit()


def test_a_run_whose_job_is_gone_is_still_in_one_place(nodes):
    nodes.job("deleted")
    by_hand = nodes.pending("deleted")[0]
    fired = nodes.pending("deleted", trigger_id=7)[0]
    dead = nodes.incarnation()
    nodes.claim(dead)
    nodes.db.execute("DELETE FROM rota.job WHERE name = 'deleted'")
    assert sum(nodes.recover(dead)[0][:2]) == 2
    assert {run_id: len(places) for run_id, places in nodes.places().items()} == {by_hand: 1, fired: 1}


def test_a_node_that_claims_right_now_is_not_recovered_before_its_claim_is_seen(nodes):
    nodes.pending(count=2)
    slow = nodes.incarnation()
    with psycopg.connect(nodes.rota.url) as db:
        claimed = nodes.claim(slow, db=db)
        assert len(claimed) == 2
        assert nodes.recover(slow) == [], "its row is locked by the claim"
        db.commit()
    assert nodes.recover(slow) == [(2, 0, False)]


def test_runs_of_lanes_are_left_alone_by_who_cannot_trust_the_lease_yet(nodes):
    """After a restart of the database the row may say less than the node was told."""
    nodes.pending(count=2)
    dead = nodes.incarnation()
    nodes.claim(dead, room=1)
    laned, = nodes.claim(dead, room=1)
    nodes.db.execute("UPDATE rota.receipt SET laned = true WHERE fence = %s", (laned[0],))
    nodes.db.execute("UPDATE rota.incarnation SET lease_until = now() - interval '1 hour'")
    assert nodes.recover(dead, lanes=False) == [(1, 0, True)], "the plain one"
    assert nodes.recover(dead, lanes=False) == [(0, 0, True)]
    assert nodes.recover(dead) == [(1, 0, False)]
    assert nodes.recover(dead) == []


def test_a_claim_that_comes_after_recovery_fails_on_the_key(nodes):
    ids = nodes.pending(count=2)
    dead = nodes.incarnation()
    with psycopg.connect(nodes.rota.url) as recoverer:
        recoverer.execute("SELECT FROM rota.recover(%s)", (dead,))
        caught = []

        def late():
            with psycopg.connect(nodes.rota.url, autocommit=True) as db:
                try:
                    nodes.claim(dead, db=db)
                except psycopg.Error as error:
                    caught.append(error.sqlstate)

        thread = threading.Thread(target=late)
        thread.start()
        wait_until(lambda: nodes.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                                       "AND datname = current_database()"), 10, "the claim to wait for the recovery")
        recoverer.commit()
        thread.join(10)
    assert caught == ["23503"]
    assert nodes.places() == {run_id: ["pending"] for run_id in ids}


@pytest.mark.parametrize("finished", [1, 3])
def test_a_completion_that_commits_while_recovery_waits_for_it_counts(nodes, finished):
    ids = nodes.pending(count=3)
    dead = nodes.incarnation()
    claimed = nodes.claim(dead)
    with psycopg.connect(nodes.rota.url) as completing:
        assert nodes.complete(dead, claimed[:finished], db=completing) == finished
        found = []

        def recover():
            with psycopg.connect(nodes.rota.url, autocommit=True) as db:
                found.extend(nodes.recover(dead, db=db))

        thread = threading.Thread(target=recover)
        thread.start()
        wait_until(lambda: nodes.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                                       "AND datname = current_database()"), 10, "recovery to wait for the completion")
        completing.commit()
        thread.join(10)
    assert found == [(3 - finished, 0, False)]
    places = nodes.places()
    assert [places[row[2]] for row in claimed] == [["history"]] * finished + [["pending"]] * (3 - finished)
    assert sorted(places) == sorted(ids)


def test_the_leaver_that_owes_nothing_takes_its_row_along(nodes):
    nodes.pending()
    incarnation = nodes.incarnation()
    claimed = nodes.claim(incarnation)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        run(nodes.db, "node_leave", incarnation)
    nodes.complete(incarnation, claimed)
    run(nodes.db, "node_leave", incarnation)
    assert nodes.value("SELECT count(*) FROM rota.incarnation") == 0


# --- all of it, in any order ---

@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_each_run_is_in_exactly_one_place(nodes, seed):
    """Random steps of three nodes, with every message sent again now and then; against a model."""
    dice = random.Random(seed)
    ids, over, stale = set(), set(), []
    held = {nodes.incarnation(f"n{number}"): [] for number in range(3)}
    for _ in range(150):
        incarnation = dice.choice(list(held))
        mine = held[incarnation]
        some = dice.sample(mine, dice.randrange(len(mine) + 1))
        step = dice.choice(("enqueue", "claim", "claim", "complete", "complete", "put back", "recover", "late"))
        if step == "enqueue":
            ids |= set(nodes.pending(count=dice.randrange(1, 12)))
        elif step == "claim":
            mine += [row[:3] for row in nodes.claim(incarnation, room=dice.randrange(1, 9))]
        elif step == "complete" and some:
            assert nodes.complete(incarnation, some) == len(some)
            over |= {row[2] for row in some}
        elif step == "put back" and some:
            assert nodes.put_back(incarnation, some, entry={"attempt": 1}) == len(some)
        elif step == "recover" and dice.random() < 0.3:
            assert sum(nodes.recover(incarnation)[0][:2]) == len(mine)
            stale += [(incarnation, row) for row in mine]
            del held[incarnation]
            held[nodes.incarnation(f"n{seed}")] = []
        elif step == "late" and stale:
            of, row = dice.choice(stale)
            assert nodes.complete(of, [row]) == 0 and nodes.put_back(of, [row]) == 0
        if step in ("complete", "put back"):
            stale += [(incarnation, row) for row in some]
            held[incarnation] = [row for row in mine if row not in some]
        places = nodes.places()
        assert set(places) == ids and all(len(where) == 1 for where in places.values())
        assert {run_id for run_id, where in places.items() if where == ["history"]} == over
        assert {run_id for run_id, where in places.items() if where == ["claimed"]} == {
            row[2] for rows in held.values() for row in rows}
    assert nodes.value("SELECT count(*) FROM rota.run") == len(ids) - len(over), text(seed)
