"""Kinds of schedules and the keys of a job from the manifest to the firing: what is stored, what begins a schedule
anew, what nodes fire, and what a row that cannot be evaluated does."""

import datetime
import time

import pytest

from ledger import instant_text
from manifests import (NEXT, UTC, changes, due, job, make_due, manifest, row, trigger, versions, waiting)
from waiting import wait_until

STORED = """SELECT kind, cron, every_us, calendar_interval, daily_from, daily_to, daily_every_us, daily_days, repeat_count,
                   dst_gap, dst_overlap FROM rota.trigger WHERE name = %s"""


def start(rota, name):
    return rota.value("SELECT start_at FROM rota.trigger WHERE name = %s", name)


def test_every_kind_is_stored_as_it_is_declared(rota, apply):
    apply(manifest(job(
        "j", trigger("month", calendar_interval="1  Month", repeat=5),
        trigger("minutes", calendar_interval="90 minutes"),
        trigger("window", daily={"from": "08:00:00", "to": "18:30", "every": "15m", "days": ["fri", "Monday"]}, repeat=9,
                dst={"overlap": "second"}),
        trigger("day", daily={"every": "PT1H"}))))
    assert row(rota, STORED, "month") == ("calendar_interval", None, None, "1 month", None, None, None, None, 5,
                                          "after", "first")
    assert row(rota, STORED, "minutes")[3] == "90 minutes"
    assert row(rota, STORED, "window") == ("daily", None, None, None, "08:00", "18:30", 900000000, ["MON", "FRI"], 9,
                                           "after", "second")
    assert row(rota, STORED, "day") == ("daily", None, None, None, None, None, 3600000000, None, None, "skip", "both")


def test_applying_every_kind_again_touches_nothing(rota, apply):
    declared = manifest(job("j", trigger("a", calendar_interval="2 weeks"), trigger("b", daily={"every": "7m"}),
                            trigger("c", daily={"from": "08:00", "every": "1s", "days": ["SUN"]}),
                            disallow_concurrent=True, persist_data=True, on_exhausted="error"),
                        job("k", concurrency={"limit": 3, "key": "/customer"}))
    apply(declared)
    before = versions(rota)
    assert apply(declared)["changes"] == []
    declared["jobs"][0]["concurrency"] = {"limit": 1}
    del declared["jobs"][0]["disallow_concurrent"]
    declared["jobs"][0]["triggers"][1]["daily"] = {"every": "PT7M", "from": "00:00", "to": "24:00"}
    assert apply(declared)["changes"] == []
    assert versions(rota) == before


def test_a_trigger_goes_from_kind_to_kind(rota, apply):
    kinds = [{"cron": "0 0 2 * * ?"}, {"daily": {"every": "1h"}}, {"calendar_interval": "1 day"}, {"every": "1h"},
             {"at": "2030-01-01T00:00:00Z"}]
    for declared in [*kinds, *reversed(kinds)]:
        apply(manifest(job("j", trigger("t", **declared))))
        assert rota.value("SELECT kind FROM rota.trigger") == next(iter(declared))
    assert row(rota, STORED, "t") == ("cron", "0 0 2 * * ?", *[None] * 7, "after", "first")


BEGINNINGS = [  # what is declared first and then, and whether the schedule begins anew
    ({"calendar_interval": "1 day"}, {"calendar_interval": "2 days"}, True),
    ({"calendar_interval": "1 day"}, {"calendar_interval": "1 day", "timezone": "Asia/Tokyo"}, False),
    ({"calendar_interval": "1 day"}, {"calendar_interval": "1 day", "repeat": 3}, False),
    ({"daily": {"every": "1h"}}, {"daily": {"every": "2h"}}, True),
    ({"daily": {"every": "1h"}}, {"daily": {"every": "1h"}, "timezone": "Asia/Tokyo"}, True),
    ({"daily": {"every": "1h"}}, {"daily": {"every": "1h"}, "repeat": 3}, False),
    ({"every": "1h"}, {"daily": {"every": "1h"}}, True),
]


@pytest.mark.parametrize("before, after, anew", BEGINNINGS)
def test_a_schedule_begins_anew_when_its_beginning_has_changed(rota, apply, before, after, anew):
    apply(manifest(job("j", trigger("t", **before))))
    begun = start(rota, "t")
    apply(manifest(job("j", trigger("t", **after))))
    assert (start(rota, "t") > begun) == anew


def test_intervals_and_windows_fire_when_they_should(rota, ledger, apply):
    """On the second, from start_at on, as often as declared; the month goes on in a month."""
    rota.node("n1", pools=ledger.pool())
    begin = int(time.time()) + 2
    first = instant_text(begin * 1000)
    apply(manifest(job(
        "j", trigger("seconds", calendar_interval="1 second", start_at=first, repeat=2),
        trigger("window", daily={"every": "1s"}, start_at=first, repeat=2),
        trigger("month", calendar_interval="1 month", start_at=first),
        trigger("never", daily={"every": "1s", "days": [time.strftime("%a", time.gmtime(begin + 3 * 86400))]}),
        handler="ledger")))
    expected = {(name, (begin + second) * 1000): 1 for name in ("seconds", "window") for second in range(3)}
    expected["month", begin * 1000] = 1
    wait_until(lambda: ledger.count() >= len(expected), 15, lambda: ledger.entries())
    wait_until(lambda: due(rota, "seconds")[0] == due(rota, "window")[0] == "C", 5, "their ends")
    assert ledger.occurrences() == expected
    then = datetime.datetime.fromtimestamp(begin, UTC)
    month = due(rota, "month")[NEXT]
    assert month.time() == then.time() and 28 <= (month - then).days <= 31
    assert due(rota, "never")[:2][0] == "W"


def test_get_triggers_shows_every_kind_in_words(rota, apply):
    apply(manifest(job(
        "j", trigger("a", every="90s", repeat=3), trigger("b", calendar_interval="2 weeks"),
        trigger("c", daily={"every": "15m"}), trigger("d", at="2030-01-01T01:00:00+01:00"),
        trigger("e", daily={"from": "08:00", "to": "18:00", "every": "1h30m", "days": ["MON", "FRI"]}, repeat=1),
        trigger("f", cron="0 0 2 * * ?", calendar="c")), calendars=[{"name": "c", "weekly": ["SAT"]}]))
    assert dict(rota.rows("SELECT trigger, schedule FROM rota.trigger_state")) == {
        "a": "every 1m30s, 4 times", "b": "every 2 weeks", "c": "every 15m from 00:00 to 24:00",
        "d": "2030-01-01T00:00:00.000Z", "e": "every 1h30m from 08:00 to 18:00 on MON, FRI, 2 times",
        "f": "0 0 2 * * ?"}
    assert rota.rows("SELECT trigger, calendar FROM rota.trigger_state WHERE calendar IS NOT NULL") == [("f", "c")]
    text = rota.run("get", "triggers", "j").stdout
    assert "every 1h30m from 08:00 to 18:00 on MON, FRI, 2 times" in text


BROKEN = {  # what a hand may write, and what the error says
    "kind": ("kind = 'sundial', every_us = NULL", 'kind "sundial" is unknown to this version'),
    "days": ("kind = 'daily', every_us = NULL, daily_every_us = 1000000, daily_days = '{MON,FOO}'",
             'daily: days: "FOO" is no weekday'),
    "no day": ("kind = 'daily', every_us = NULL, daily_every_us = 1000000, daily_days = '{NULL}'",
               'daily: days: "?" is no weekday'),
    "empty": ("kind = 'daily', every_us = NULL, daily_every_us = 1000000, daily_days = '{}'",
              'daily: days: "" is no weekday'),
    "window": ("kind = 'daily', every_us = NULL, daily_every_us = 1000000, daily_from = '25:00'",
               '"25:00" is no time of day'),
    "step": ("kind = 'daily', every_us = NULL, daily_every_us = 1", "daily: every"),
    "interval": ("kind = 'calendar_interval', every_us = NULL, calendar_interval = '1 moon'",
                 'calendar_interval "1 moon": expected a number'),
}


def test_a_row_that_cannot_be_evaluated_is_an_error_of_its_trigger_alone(rota, ledger, apply):
    rota.node("n1", pools=ledger.pool())
    apply(manifest(job("j", *[trigger(name, every="1s") for name in [*BROKEN, "good"]], handler="ledger")))
    rota.db.execute("ALTER TABLE rota.trigger DROP CONSTRAINT trigger_kind_check")
    with rota.db.transaction():
        for name, (change, _) in BROKEN.items():
            rota.db.execute(f"UPDATE rota.trigger SET {change}, revision = 9 WHERE name = %s", (name,))
        rota.db.execute("UPDATE rota.trigger_due d SET revision = 9 FROM rota.trigger t "
                        "WHERE t.id = d.trigger_id AND t.revision = 9")
        rota.db.execute("UPDATE rota.fleet SET definition_revision = 9")
    errors = wait_until(lambda: len(found := dict(rota.rows(
        "SELECT trigger, error FROM rota.trigger_state WHERE state = 'error'"))) == len(BROKEN) and found, 10,
        lambda: rota.rows("SELECT trigger, state, error FROM rota.trigger_state"))
    for name, (_, text) in BROKEN.items():
        assert text in errors[name]
    count = sum(entry.trigger == "good" for entry in ledger.entries())
    wait_until(lambda: sum(entry.trigger == "good" for entry in ledger.entries()) >= count + 2, 10, "the good one")


# --- keys of jobs ----------------------------------------------------------------------------------------

LANES = "SELECT lane_limit, lane_key, persist_data, on_exhausted FROM rota.job WHERE name = %s"


def test_limits_and_persistence_are_stored_and_taken_back(rota, apply):
    apply(manifest(job("one", disallow_concurrent=True), job("three", concurrency={"limit": 3, "key": "/a~1b/0"}),
                   job("kept", persist_data=True, on_exhausted="error"), job("plain")))
    assert row(rota, LANES, "one") == (1, None, False, "fail")
    assert row(rota, LANES, "three") == (3, "/a~1b/0", False, "fail")
    assert row(rota, LANES, "kept") == (None, None, True, "error")
    assert row(rota, LANES, "plain") == (None, None, False, "fail")
    assert len(apply(manifest(job("one"), job("three"), job("kept"), job("plain")))["changes"]) == 3
    assert rota.rows("SELECT DISTINCT lane_limit, lane_key, persist_data, on_exhausted FROM rota.job") == [
        (None, None, False, "fail")]


def lanes(rota, table, order):
    return [(lane is not None, route < 0) for lane, route in
            rota.rows(f"SELECT lane, route FROM rota.{table} ORDER BY {order}")]


def test_what_waits_moves_into_and_out_of_the_lanes_of_its_job(rota, apply):
    limited = {"concurrency": {"limit": 2, "key": "/customer"}}
    apply(manifest(job("j", trigger("t"), data={"customer": "a"})))
    rota.enqueue("j", "--count", "2")
    apply(manifest(job("j", trigger("t"), data={"customer": "a"}, **limited)))
    assert lanes(rota, "trigger_due", "trigger_id") == [(True, True)]
    assert lanes(rota, "pending", "id") == [(True, True)] * 2
    before = rota.value("SELECT lane FROM rota.trigger_due")
    apply(manifest(job("j", trigger("t"), trigger("u", data={"customer": "b"}), data={"customer": "a"}, **limited)))
    assert lanes(rota, "trigger_due", "trigger_id") == [(True, True)] * 2
    other = rota.value("SELECT d.lane FROM rota.trigger_due d JOIN rota.trigger t ON t.id = d.trigger_id WHERE name = 'u'")
    assert other != before
    apply(manifest(job("j", trigger("t", data={"customer": "b"}), trigger("u"), data={"customer": "a"}, **limited)))
    found = dict(rota.rows("SELECT t.name, d.lane FROM rota.trigger_due d JOIN rota.trigger t ON t.id = d.trigger_id"))
    assert found == {"t": other, "u": before}
    apply(manifest(job("j", trigger("t"), trigger("u"), data={"customer": "a"})))
    assert lanes(rota, "trigger_due", "trigger_id") == [(False, False)] * 2
    assert lanes(rota, "pending", "id") == [(False, False)] * 2


def test_a_trigger_takes_the_lane_and_the_pause_of_the_job_it_goes_to(rota, apply):
    def where():
        return rota.rows("SELECT d.lane IS NOT NULL, d.route < 0, d.paused, d.paused_at IS NOT NULL FROM rota.trigger_due d "
                         "JOIN rota.trigger t ON t.id = d.trigger_id WHERE t.name = 't'")

    plain, limited = job("plain"), job("limited", disallow_concurrent=True)
    apply(manifest({**limited, "triggers": [trigger("t")]}, plain))
    rota.db.execute("UPDATE rota.job SET paused = true WHERE name = 'plain'")
    rota.db.execute("SELECT rota.pause_settle(NULL, false)")
    assert where() == [(True, True, False, False)]
    apply(manifest(limited, {**plain, "triggers": [trigger("t")]}))
    assert where() == [(False, False, True, True)]
    apply(manifest({**limited, "triggers": [trigger("t")]}, plain))
    assert where() == [(True, True, False, False)]


@pytest.mark.parametrize("pause", ["INSERT INTO rota.source_pause (source) VALUES ('test')",
                                   "UPDATE rota.fleet SET paused = true"])
def test_what_is_new_in_a_paused_source_or_fleet_is_paused(rota, apply, pause):
    rota.db.execute(pause)
    apply(manifest(job("j", trigger("t"), disallow_concurrent=True), job("k")))
    assert rota.rows("SELECT held, paused FROM rota.job") == [(True, False)] * 2
    assert rota.rows("SELECT paused, paused_at IS NOT NULL FROM rota.trigger_due") == [(True, True)]
    apply(manifest(job("j", trigger("t", cron="0 0 3 * * ?"), trigger("u"), disallow_concurrent=True, priority=9), job("k")))
    assert rota.rows("SELECT paused FROM rota.trigger_due") == [(True,)] * 2
    assert rota.value("SELECT held FROM rota.job WHERE name = 'j'")


def test_a_new_trigger_of_a_paused_job_is_paused(rota, apply):
    apply(manifest(job("j", trigger("t")), job("k", trigger("u"))))
    rota.db.execute("UPDATE rota.job SET paused = true WHERE name = 'j'")
    rota.db.execute("SELECT rota.pause_settle(NULL, false)")
    apply(manifest(job("j", trigger("t"), trigger("v")), job("k", trigger("u"), trigger("w"))))
    assert dict(rota.rows("SELECT trigger, paused FROM rota.trigger_state")) == {
        "t": True, "v": True, "u": False, "w": False}


def test_persisted_data_survive_an_apply_until_their_ground_is_taken(rota, apply):
    def persisted():
        return rota.value("SELECT count(*) FROM rota.job_data")

    def persist():
        rota.db.execute("INSERT INTO rota.job_data (job_id, data, run_id) SELECT id, '{\"n\": 2}', 1 FROM rota.job")

    declared = {"data": {"n": 1}, "persist_data": True}
    apply(manifest(job("j", trigger("t"), **declared)))
    persist()
    apply(manifest(job("j", trigger("t", cron="0 0 3 * * ?"), priority=7, description="d", **declared)))
    assert persisted() == 1
    declared["data"] = {"n": 3}
    apply(manifest(job("j", trigger("t"), **declared)))
    assert persisted() == 0
    persist()
    apply(manifest(job("j", trigger("t"), data={"n": 3})))
    assert persisted() == 0


def test_what_was_due_of_a_new_kind_meets_the_old_policy(rota, apply):
    apply(manifest(job("j", trigger("t", daily={"from": "02:00", "to": "04:00", "every": "1h"}, misfire="fire_all"))))
    rota.db.execute("UPDATE rota.trigger SET end_at = '2026-01-01T23:00:00Z'")
    make_due(rota, "t", datetime.datetime(2026, 1, 1, 2, tzinfo=UTC))
    diff = apply(manifest(job("j", trigger("t", calendar_interval="1 year"))))
    assert changes(diff) == [("change", "trigger", "t")]
    assert [run[1].hour for run in waiting(rota)] == [2, 3, 4]
    assert due(rota, "t")[3:5] == (3, 0)


def test_the_last_firing_of_all_is_known_where_there_is_one(rota, apply):
    weekdays = {"name": "weekdays", "weekly": ["SAT", "SUN"]}
    begin = {"start_at": "2039-01-01T00:00:00Z"}
    declared = {
        "at": (trigger("at", at="2039-05-01T06:00:00Z"), "2039-05-01T06:00:00"),
        "repeats": (trigger("repeats", every="1h", repeat=3, **begin), "2039-01-01T03:00:00"),
        "ends": (trigger("ends", cron="0 0 2 * * ?", end_at="2039-01-09T12:00:00Z", **begin), "2039-01-09T02:00:00"),
        "years": (trigger("years", cron="0 0 2 1 1 ? 2039-2041", **begin), "2041-01-01T02:00:00"),
        "months": (trigger("months", calendar_interval="1 month", repeat=2, **begin), "2039-03-01T00:00:00"),
        "excluded": (trigger("excluded", cron="0 0 2 * * ?", end_at="2039-01-09T12:00:00Z", calendar="weekdays", **begin),
                     "2039-01-07T02:00:00"),
        "endless": (trigger("endless", every="1h", **begin), None),
    }
    apply(manifest(job("j", *(declaration for declaration, _ in declared.values())), calendars=[weekdays]))
    for name, (_, last) in declared.items():
        found = row(rota, "SELECT final_at FROM rota.trigger_state WHERE trigger = %s", name)[0]
        assert (found and found.astimezone(UTC).isoformat()[:19]) == last, name
    apply(manifest(job("j", *(declaration for declaration, _ in declared.values())), calendars=[{**weekdays, "weekly": ["SUN"]}]))
    assert row(rota, "SELECT final_at FROM rota.trigger_state WHERE trigger = 'excluded'")[0].astimezone(UTC).day == 8
