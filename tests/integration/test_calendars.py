"""Calendars: what a firing node leaves out, what follows a calendar that changes, what an apply refuses, and rows that
were written by hand."""

import datetime
import json
import os
import time

from ledger import instant_text
from manifests import (NEXT, REVISION, UTC, changes, due, job, make_due, manifest, row, trigger, versions, waiting)
from statements import array, run
from waiting import wait_until

WEEKEND = {"name": "weekend", "weekly": ["SAT", "SUN"]}


def calendar(name, **more):
    return {"name": name, **more}


def calendars(*declared, source="base", jobs=()):
    return manifest(*jobs, source=source, calendars=list(declared))


def at(year, month, day, hour=2):
    return datetime.datetime(year, month, day, hour, tzinfo=UTC)


def yearly(name, day="1", **more):
    """On one day of each January: what a calendar does to it can be told in advance."""
    return trigger(name, cron=f"0 0 2 {day} 1 ?", start_at="2039-01-01T00:00:00Z", **more)


# --- firing --------------------------------------------------------------------------------------------------


def test_what_a_calendar_excludes_does_not_fire(rota, ledger, apply):
    """Every second but the even ones, by cron; and a stack on it that leaves out two more."""
    rota.node("n1", pools=ledger.pool())
    begin = (int(time.time()) // 10 + 1) * 10
    limits = {"start_at": instant_text(begin * 1000), "end_at": instant_text(begin * 1000 + 9999)}
    apply(manifest(job("j", trigger("odd", every="1s", calendar="even seconds", **limits),
                       trigger("few", cron="* * * * * ?", calendar="more", **limits), handler="ledger"),
                   calendars=[calendar("even seconds", cron=["0/2 * * * * ?"]),
                              calendar("more", base="even seconds", cron=["5/10,7/10 * * * * ?"])]))
    expected = {("odd", (begin + second) * 1000): 1 for second in (1, 3, 5, 7, 9)}
    expected |= {("few", (begin + second) * 1000): 1 for second in (1, 3, 9)}
    wait_until(lambda: ledger.count() >= len(expected), begin - time.time() + 20, lambda: ledger.entries())
    wait_until(lambda: due(rota, "odd")[0] == due(rota, "few")[0] == "C", 10, "their ends")
    assert ledger.occurrences() == expected


def test_a_node_follows_a_calendar_that_another_source_changes(rota, ledger, apply):
    rota.node("n1", pools=ledger.pool())
    apply(calendars(calendar("all", daily=[["00:00", "24:00"]])))
    diff = apply(manifest(job("j", trigger("t", every="1s", calendar="all"), handler="ledger")))
    assert due(rota, "t")[:2] == ("C", None)
    assert [change.get("note") for change in diff["changes"]] == [None, "the calendar leaves no firing"]
    apply(calendars(calendar("all", daily=[])))
    wait_until(lambda: ledger.count() >= 2, 10, "firings")
    apply(calendars(calendar("all", daily=[["00:00", "24:00"]])))
    assert due(rota, "t")[:2] == ("C", None)
    wait_until(lambda: rota.open_runs() == 0, 10, "its runs")
    assert ledger.count() == due(rota, "t")[3]


# --- apply ---------------------------------------------------------------------------------------------------


def test_calendars_are_stored_shown_and_left_alone_when_they_are_as_before(rota, apply):
    declared = manifest(job("j", yearly("t", calendar="top")),
                        calendars=[calendar("holidays", dates=["2026-12-26", "2026-12-25"], description="d"),
                                   calendar("top", base="holidays", weekly=["sun", "SAT"], timezone="Europe/Berlin")])
    diff = apply(declared)
    assert changes(diff) == [("create", "calendar", "holidays"), ("create", "calendar", "top"), ("create", "job", "j"),
                             ("create", "trigger", "t")]
    assert rota.rows("SELECT name, source, base, definition FROM rota.calendar ORDER BY name") == [
        ("holidays", "test", None, '{"description":"d","dates":["2026-12-25","2026-12-26"]}'),
        ("top", "test", "holidays", '{"weekly":["SAT","SUN"],"timezone":"Europe/Berlin","base":"holidays"}')]
    before = versions(rota)
    declared["calendars"][0]["dates"].append("2026-12-25")
    assert apply(declared)["unchanged"] == {"calendars": 2, "jobs": 1, "triggers": 1}
    assert apply(manifest(job("j", yearly("t", calendar="top"))))["changes"] == []  # not mentioned: it stays
    assert versions(rota) == before
    text = rota.run("apply", "-f", apply.write(declared)).stdout
    assert text == "= 2 calendars, 1 job and 1 trigger unchanged\n"


def test_a_calendar_excludes_by_its_own_zone_or_by_that_of_the_trigger(rota, apply):
    apply(manifest(job("j", trigger("tokyo", every="1h", start_at="2039-01-01T00:00:00Z", calendar="here",
                                    timezone="Asia/Tokyo"),
                       trigger("berlin", every="1h", start_at="2039-01-01T00:00:00Z", calendar="there",
                               timezone="Asia/Tokyo")),
                   calendars=[calendar("here", daily=[["00:00", "12:00"]]),
                              calendar("there", daily=[["00:00", "12:00"]], timezone="Europe/Berlin")]))
    assert due(rota, "tokyo")[NEXT] == at(2039, 1, 1, 3)  # noon in Tokyo
    assert due(rota, "berlin")[NEXT] == at(2039, 1, 1, 11)


def test_a_change_moves_the_triggers_of_every_source_that_use_it_directly_or_through_a_stack(rota, apply):
    apply(calendars(calendar("base", dates=["2039-01-01"]), calendar("other")))
    apply(calendars(calendar("top", base="base", dates=["2040-01-01"]), source="middle"))
    apply(manifest(job("j", yearly("direct", calendar="base"), yearly("stack", calendar="top"), yearly("plain"),
                       yearly("other", calendar="other")), source="users"))
    assert [due(rota, name)[NEXT].year for name in ("direct", "stack", "plain", "other")] == [2040, 2041, 2039, 2039]
    untouched = [due(rota, name) for name in ("plain", "other")]
    before = due(rota, "direct")[REVISION]
    diff = apply(calendars(calendar("base", dates=["2039-01-01", "2041-01-01"]), calendar("other")))
    assert changes(diff) == [("change", "calendar", "base"), ("change", "trigger", "stack")]
    assert diff["changes"][1]["source"] == "users" and diff["changes"][1]["calendar"] == "top"
    assert [due(rota, name)[NEXT].year for name in ("direct", "stack")] == [2040, 2042]
    for name in ("direct", "stack"):
        assert due(rota, name)[REVISION] > before
        assert rota.value("SELECT revision FROM rota.trigger WHERE name = %s", name) == due(rota, name)[REVISION]
    assert [due(rota, name) for name in ("plain", "other")] == untouched
    apply(calendars(calendar("base"), calendar("other")))
    assert [due(rota, name)[NEXT].year for name in ("direct", "stack")] == [2039, 2039]
    # what a calendar stands on is part of it
    apply(calendars(calendar("top", dates=["2040-01-01"], base="other"), source="middle"))
    apply(calendars(calendar("base"), calendar("other", annual=["01-01"])))
    assert [due(rota, name)[:2] for name in ("direct", "stack")] == [("W", at(2039, 1, 1)), ("C", None)]


def test_a_new_description_of_a_calendar_moves_nothing(rota, apply):
    apply(calendars(calendar("base", dates=["2039-01-01"])))
    apply(manifest(job("j", yearly("t", calendar="base"))))
    before = due(rota, "t")
    diff = apply(calendars(calendar("base", dates=["2039-01-01"], description="new")))
    assert changes(diff) == [("change", "calendar", "base")] and due(rota, "t") == before


def test_a_trigger_follows_another_calendar_and_none(rota, apply):
    apply(calendars(calendar("a", dates=["2039-01-01"]), calendar("b", dates=["2039-01-01", "2040-01-01"])))
    for more, year in (({"calendar": "a"}, 2040), ({"calendar": "b"}, 2041), ({}, 2039), ({"calendar": "b"}, 2041)):
        apply(manifest(job("j", yearly("t", **more))))
        assert due(rota, "t")[NEXT].year == year


def test_calendar_trigger_and_job_may_change_in_one_apply(rota, apply):
    def declare(dates, **more):
        return manifest(job("j", yearly("t", calendar="c", **more), yearly("u", calendar="c"), **more),
                        calendars=[calendar("c", dates=dates)])

    apply(declare(["2039-01-01"]))
    diff = apply(declare(["2039-01-01", "2040-01-01"], description="new", data={"a": 1}))
    assert changes(diff) == [("change", "calendar", "c"), ("change", "job", "j"), ("change", "trigger", "t"),
                             ("change", "trigger", "t"), ("change", "trigger", "u")]
    assert [due(rota, name)[NEXT].year for name in ("t", "u")] == [2041, 2041]
    assert rota.rows("SELECT data::text FROM rota.trigger ORDER BY name") == [('{"a": 1}',), (None,)]


def test_what_was_due_under_the_old_calendar_meets_the_policy(rota, apply):
    users = [trigger(name, cron="0 0 2-6 1 1 ? 2026,2040", calendar="c", misfire=misfire)
             for name, misfire in (("one", "fire_once"), ("all", "fire_all"), ("none", "skip"))]
    apply(calendars(calendar("c", daily=[["03:00", "04:00"]])))
    apply(manifest(job("j", *users), source="users"))
    for name in ("one", "all", "none"):
        make_due(rota, name, at(2026, 1, 1))
    apply(calendars(calendar("c", daily=[["02:00", "04:00"]])))
    for name, fired, missed, previous in (("one", 1, 3, at(2026, 1, 1, 6)), ("all", 4, 0, at(2026, 1, 1, 6)),
                                          ("none", 0, 4, None)):
        assert due(rota, name)[:5] == ("W", at(2040, 1, 1, 4), previous, fired, missed)
    assert sorted((run[0], run[1].hour, run[2]) for run in waiting(rota)) == [
        ("all", 2, 0), ("all", 4, 0), ("all", 5, 0), ("all", 6, 0), ("one", 6, 3)]


def test_what_is_due_but_paused_or_blocked_stays_due(rota, apply):
    apply(calendars(calendar("c")))
    apply(manifest(job("j", trigger("paused", calendar="c"), trigger("blocked", calendar="c"), disallow_concurrent=True),
                   source="users"))
    make_due(rota, "paused", at(2026, 1, 1), paused=True)
    make_due(rota, "blocked", at(2026, 1, 1), state="B")
    apply(calendars(calendar("c", daily=[["02:00", "03:00"]])))
    assert due(rota, "paused")[:2] == ("W", at(2026, 1, 1))
    assert due(rota, "blocked")[:2] == ("W", at(2026, 1, 1)), "due still, and trying its lane again"
    assert waiting(rota) == []


def test_a_complete_trigger_waits_again_if_it_was_the_calendar_that_ended_it(rota, apply):
    apply(calendars(calendar("c", annual=["01-01"])))
    apply(manifest(job("j", yearly("ended", calendar="c"), yearly("off", calendar="c", day="1-2"),
                       trigger("once", at="2039-01-01T02:00:00Z", calendar="c"),
                       trigger("over", at="2020-01-01T02:00:00Z", calendar="c")), source="users"))
    assert {name: due(rota, name)[0] for name in ("ended", "off", "once", "over")} == {
        "ended": "C", "off": "W", "once": "C", "over": "C"}
    rota.db.execute("UPDATE rota.trigger_due d SET state = 'C', next_at = NULL FROM rota.trigger t "
                    "WHERE t.id = d.trigger_id AND t.name = 'off'")  # taken off, though its schedule goes on
    apply(calendars(calendar("c", annual=["01-03"])))
    assert {name: due(rota, name)[:2] for name in ("ended", "off", "once", "over")} == {
        "ended": ("W", at(2039, 1, 1)), "off": ("C", None), "once": ("W", at(2039, 1, 1)), "over": ("C", None)}
    apply(calendars(calendar("c", annual=["01-01"])))
    assert due(rota, "ended")[:2] == due(rota, "once")[:2] == ("C", None)


def test_a_calendar_that_leaves_nothing_is_noted_not_refused(rota, apply):
    declared = manifest(job("j", trigger("t", cron="0 0 2 ? * SAT", calendar="weekend"), trigger("u", cron="0 0 2 1 1 ? 2020")),
                        calendars=[WEEKEND])
    text = rota.run("apply", "-f", apply.write(declared)).stdout
    assert 'no further firing: calendar "weekend" leaves none\n' in text
    assert text.count("leaves none") == 1  # the other has ended by itself


def test_a_dry_run_shows_what_would_follow_and_touches_nothing(rota, apply):
    apply(calendars(calendar("c")))
    apply(manifest(job("j", yearly("t", calendar="c"), yearly("u")), source="users"))
    before = versions(rota)
    changed = calendars(calendar("c", dates=["2039-01-01"]), calendar("d", base="c"))
    text = rota.run("apply", "-f", apply.write(changed), "--dry-run").stdout
    assert text == ('~ calendar "c" of source "base": dates default -> ["2039-01-01"]\n'
                    '+ calendar "d" of source "base": base "c"\n'
                    '~ trigger "t" of job "j": calendar "c" changed, next firing 2040-01-01T02:00:00.000Z\n'
                    "= 0 jobs and 0 triggers unchanged\n"
                    "dry run: nothing was changed\n")
    assert versions(rota) == before


# --- removal and refusals ------------------------------------------------------------------------------------


def test_only_prune_removes_calendars_and_only_of_its_source(rota, apply):
    apply(calendars(calendar("a"), calendar("b", base="a"), jobs=[job("j", yearly("t", calendar="b"))]))
    apply(calendars(calendar("c"), source="other"))
    apply(calendars(jobs=[job("j", yearly("t"))]))
    assert rota.value("SELECT count(*) FROM rota.calendar") == 3
    diff = apply(calendars(jobs=[job("j", yearly("t"))]), "--prune")
    assert changes(diff) == [("remove", "calendar", "a"), ("remove", "calendar", "b")]
    assert rota.rows("SELECT name FROM rota.calendar") == [("c",)]
    apply(calendars(calendar("d"), jobs=[job("j", yearly("t", calendar="d"))]))
    assert changes(apply(calendars(), "--prune")) == [("remove", "job", "j"), ("remove", "trigger", "t"),
                                                      ("remove", "calendar", "d")]


def test_a_calendar_in_use_is_not_pruned_and_its_users_are_named(rota, apply):
    apply(calendars(calendar("a"), calendar("b"), calendar("d"), jobs=[job("own", yearly("t", calendar="d"))]))
    apply(calendars(calendar("c", base="a"), source="other", jobs=[job("j", yearly("u", calendar="b"))]))
    before = versions(rota)
    result = apply.refused(calendars(jobs=[job("own", yearly("t", calendar="d"))]), "--prune")
    for text in ('calendar "a" is declared no more, but calendar "c" of source "other" stands on it',
                 'calendar "b" is declared no more, but trigger "u" of job "j" (source "other") uses it',
                 'trigger "t": "calendar" names "d", which is declared no more and goes with --prune'):
        assert text in result.stderr, result.stderr
    assert versions(rota) == before
    apply(calendars(source="other"), "--prune")
    apply(calendars(), "--prune")
    assert rota.value("SELECT count(*) FROM rota.calendar") == 0


def test_the_name_of_a_calendar_belongs_to_its_source(rota, apply):
    apply(calendars(calendar("a")))
    result = apply.refused(calendars(calendar("a", dates=["2039-01-01"]), source="other"))
    assert ':1:47: calendar "a" belongs to source "base", this manifest\'s is "other"' in result.stderr


def test_names_that_lead_nowhere_are_refused_with_their_place(rota, apply):
    apply(calendars(calendar("holidays")))
    text = json.dumps(manifest(job("j", trigger("t", every="1h", calendar="holidayss")),
                               calendars=[calendar("x", base="nothing like it")]), indent=1)
    stderr = apply.refused(text).stderr
    assert ('job "j", trigger "t": "calendar" names "holidayss", which is no calendar of these manifests or of the '
            'database; did you mean "holidays"?\n') in stderr
    assert ('calendar "x": "base" names "nothing like it", which is no calendar of these manifests or of the database; '
            'declare it under "calendars"\n') in stderr
    lines = text.splitlines()
    for line in stderr.splitlines()[:2]:
        _, number, column, _ = line.split(":", 3)
        assert lines[int(number) - 1][int(column) - 1:].startswith(('"holidayss"', '"nothing like it"'))


def test_stacks_that_stand_on_themselves_are_refused(rota, apply):
    stderr = apply.refused(calendars(calendar("a", base="b"), calendar("b", base="a"), calendar("c", base="c"))).stderr
    for name, base in (("a", "b"), ("b", "a"), ("c", "c")):
        assert f'calendar "{name}" would stand on itself by its base "{base}"' in stderr
    apply(calendars(calendar("a")))
    apply(calendars(calendar("b", base="a"), source="other"))
    stderr = apply.refused(calendars(calendar("a", base="b"))).stderr  # through the database
    assert 'calendar "a" would stand on itself by its base "b"' in stderr


def test_stacks_too_deep_or_with_too_many_expressions_are_refused(rota, apply):
    stack = [calendar("c0")] + [calendar(f"c{i}", base=f"c{i - 1}") for i in range(1, 8)]
    apply(calendars(*stack))
    stderr = apply.refused(calendars(calendar("one more", base="c7"), source="other")).stderr
    assert 'calendar "one more": base: more than 8 calendars stand on each other' in stderr
    apply(calendars(calendar("below"), source="other"))
    stderr = apply.refused(calendars(calendar("c0", base="below"), *stack[1:])).stderr
    assert "more than 8 calendars stand on each other" in stderr
    crons = [f"0 {i} 1 * * ?" for i in range(12)]
    apply(calendars(calendar("full", cron=crons), source="crons"))
    stderr = apply.refused(calendars(calendar("over", base="full", cron=["0 0 3 * * ?"]), source="other")).stderr
    assert "cron: 13 expressions, those of its bases included: expected at most 12" in stderr


def test_a_change_that_breaks_a_stack_of_another_source_is_refused_naming_it(rota, apply):
    apply(calendars(calendar("a"), calendar("z")))
    apply(calendars(calendar("mine", base="a", cron=["0 0 3 * * ?"]), source="other"))
    stderr = apply.refused(calendars(calendar("a", cron=[f"0 {i} 1 * * ?" for i in range(12)]), calendar("z"))).stderr
    assert ('calendar "a": "mine" of source "other" stands on it and could not be evaluated any more: calendar "mine": cron: '
            "13 expressions") in stderr


# --- by hand -------------------------------------------------------------------------------------------------


def break_calendar(rota, *changes_by_hand):
    """As if by hand: rows change, and the triggers are to be read again."""
    with rota.db.transaction():
        for change in changes_by_hand:
            rota.db.execute(change)
        rota.db.execute("UPDATE rota.fleet SET definition_revision = definition_revision + 1")
        rota.db.execute("UPDATE rota.trigger SET revision = (SELECT definition_revision FROM rota.fleet)")
        rota.db.execute("UPDATE rota.trigger_due SET revision = (SELECT definition_revision FROM rota.fleet)")


def test_a_calendar_broken_by_hand_is_an_error_of_its_triggers_while_the_rest_fires(rota, ledger, apply):
    rota.node("n1", pools=ledger.pool())
    names = ("broken", "above", "circle", "good", "none")
    apply(manifest(job("j", *[trigger(name, every="1s", calendar=None if name == "none" else name) for name in names[:4]],
                       trigger("none", every="1s"), handler="ledger"),
                   calendars=[calendar("broken"), calendar("above", base="broken"), calendar("circle"),
                              calendar("round", base="circle"), calendar("good", dates=["1970-01-01"])]))
    break_calendar(rota, "UPDATE rota.calendar SET definition = '{\"weekly\":[\"DAY\"]}' WHERE name = 'broken'",
                   "UPDATE rota.calendar SET base = 'round' WHERE name = 'circle'")
    errors = wait_until(lambda: len(found := dict(rota.rows(
        "SELECT trigger, error FROM rota.trigger_state WHERE state = 'error'"))) == 3 and found, 10,
        lambda: rota.rows("SELECT trigger, state, error FROM rota.trigger_state"))
    wrong = 'calendar "broken", weekly: "DAY" is no weekday: expected SUN, MON, TUE, WED, THU, FRI or SAT'
    assert errors == {"broken": f'calendar "broken" cannot be evaluated: {wrong}',
                      "above": f'calendar "above" cannot be evaluated: {wrong}',
                      "circle": 'calendar "circle" cannot be evaluated: calendar "circle" stands on itself, by its '
                                "bases; take the base from one of them"}
    count = ledger.count()
    wait_until(lambda: ledger.count() >= count + 4, 10, "the others")
    assert {entry.trigger for entry in ledger.entries()[count:]} == {"good", "none"}
    # declaring them right brings the triggers back
    apply(calendars(calendar("broken"), calendar("above", base="broken"), calendar("circle"), source="test"))
    assert rota.value("SELECT count(*) FROM rota.trigger_due WHERE state = 'W'") == 5
    wait_until(lambda: {entry.trigger for entry in ledger.entries()} >= set(names), 10, "all of them")


def test_a_calendar_broken_by_hand_stops_no_apply_that_has_nothing_to_do_with_it(rota, apply):
    apply(calendars(calendar("below"), calendar("broken", base="below")))
    apply(manifest(job("j", yearly("t", calendar="broken"), yearly("u", calendar="below")), source="users"))
    rota.db.execute("UPDATE rota.calendar SET definition = 'nonsense' WHERE name = 'broken'")
    rota.db.execute("UPDATE rota.trigger_due d SET state = 'E', next_at = NULL, error = 'it is broken' FROM rota.trigger t "
                    "WHERE t.id = d.trigger_id AND t.name = 't'")
    apply(manifest(job("j", yearly("t", calendar="broken"), yearly("u", calendar="below"), data={"a": 1}), source="users"))
    apply(calendars(calendar("below", dates=["2039-01-01"]), source="base"))
    assert due(rota, "t")[0] == "E" and due(rota, "u")[NEXT] == at(2040, 1, 1)
    stderr = apply.refused(manifest(job("j", yearly("t", calendar="broken", priority=7)), source="users")).stderr
    assert 'calendar "broken" of source "base" cannot be evaluated: calendar "broken": its definition is no JSON' in stderr


def test_what_put_a_trigger_into_error_is_not_forgiven_by_a_calendar(rota, apply):
    apply(calendars(calendar("c")))
    apply(manifest(job("j", yearly("t", calendar="c")), source="users"))
    rota.db.execute("UPDATE rota.trigger_due SET state = 'E', next_at = NULL, error = 'its run failed for good'")
    apply(calendars(calendar("c", dates=["2039-01-01"])))
    assert row(rota, "SELECT state::text, error FROM rota.trigger_due") == ("E", "its run failed for good")


# --- many ----------------------------------------------------------------------------------------------------


def test_twenty_thousand_triggers_follow_one_calendar_in_time(rota, apply, capsys):
    dates = [str(datetime.date(2000, 1, 1) + datetime.timedelta(days=i)) for i in range(5000)]
    declared = manifest(*[job(f"job-{i}", trigger(f"t-{i}-a", cron="0 0 H * * ?", timezone="Europe/Berlin", calendar="top"),
                              trigger(f"t-{i}-b", daily={"every": "1h", "days": ["MON", "TUE"]}, calendar="top"))
                          for i in range(10000)], source="users")

    def seconds(what):
        path = apply.write(what)
        begun = time.monotonic()
        rota.run("apply", "-f", path)
        return time.monotonic() - begun

    apply(calendars(calendar("below", dates=dates), calendar("top", base="below", weekly=["SUN"])))
    fresh, again = seconds(declared), seconds(declared)
    changed = seconds(calendars(calendar("below", dates=dates[1:]), calendar("top", base="below", weekly=["SUN"])))
    with capsys.disabled():
        print(f"\n20,000 triggers with a calendar: new {fresh:.2f} s, unchanged {again:.2f} s, moved {changed:.2f} s")
    assert rota.value("SELECT count(*) FROM rota.trigger_due WHERE state = 'W'") == 20000
    assert rota.value("SELECT count(DISTINCT revision) FROM rota.trigger") == 1
    assert rota.value("SELECT min(revision) FROM rota.trigger_due") == rota.value("SELECT definition_revision FROM rota.fleet")
    slower = 4 if os.environ.get("ROTA_TEST_SANITIZED") else 1
    assert fresh < 5 * slower and again < 2 * slower and changed < 5 * slower


def test_the_text_of_a_stack_comes_once_whatever_the_number_of_its_triggers(rota, apply):
    apply(manifest(job("j", *[yearly(f"t{i}", calendar="top") for i in range(300)], yearly("plain"),
                       yearly("small", calendar="below")),
                   calendars=[calendar("top", base="below", weekly=["SUN"]), calendar("below")]))
    ids = [id for id, in rota.rows("SELECT id FROM rota.trigger ORDER BY id")]
    loaded = run(rota.db, "definition_load", array("integer", reversed(ids)))
    assert [found[0] for found in loaded] == ids
    stacks = [(found[2], found[-2], found[-1]) for found in loaded if found[-1] is not None]
    assert stacks == [("t0", ["top", "below"], ['{"weekly":["SUN"],"base":"below"}', "{}"]), ("small", ["below"], ["{}"])]
    with rota.db.transaction():
        rota.db.execute("UPDATE rota.calendar SET base = 'top' WHERE name = 'below'")
        stack = run(rota.db, "definition_load", array("integer", ids[:1]))[0][-2]
        assert stack == ["top", "below"] * 4 + ["top"]  # a circle by hand ends
