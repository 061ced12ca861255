"""`rota reschedule`: a new schedule for one trigger, with the checks and the care of an apply."""

import concurrent.futures
import datetime
import json
import time

import psycopg
import pytest

from ledger import instant_text
from waiting import wait_until

DATA = '{"big":1234567890123456789,  "sp\\u0061ced": [1 ,2.50]}'


def job(name, *triggers, **more):
    return {"name": name, "handler": "noop", "triggers": list(triggers), **more}


NIGHTLY = {"name": "nightly", "cron": "0 0 3 * * ?", "timezone": "Europe/Berlin", "misfire": "skip",
           "dst": {"gap": "skip"}, "priority": 7}


def definition(rota, name):
    return json.loads(rota.value("SELECT definition FROM rota.trigger WHERE name = %s", name))


def change(rota, *arguments):
    return json.loads(rota.run("reschedule", *arguments, "--json").stdout)


def everything_else(rota):
    return rota.rows("""SELECT t.name, t.definition, d.next_at, d.fired FROM rota.trigger t
                          JOIN rota.trigger_due d ON d.trigger_id = t.id WHERE t.name <> 'nightly'
                        UNION ALL SELECT j.name, j.definition, NULL, j.id FROM rota.job j ORDER BY 1""")


def test_only_the_schedule_of_the_one_trigger_changes(rota, tmp_path):
    """Users' data stays as it was written, to the byte: the definitions of the others are equal texts."""
    report = job("report", NIGHTLY, {"name": "tick", "every": "1h"}, retry="immediate", timeout="90s",
                 description='quoted "text"\nin lines', data="DATA")
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"source": "test", "jobs": [report, job("other", {"name": "x", "every": "2h"})]})
                    .replace('"DATA"', DATA))
    rota.run("apply", "-f", str(path))
    assert DATA in rota.value("SELECT definition FROM rota.job WHERE name = 'report'")
    before = everything_else(rota)
    said = rota.run("reschedule", "nightly", "--cron", "0 30 4 * * ?")
    next_at = rota.value("SELECT d.next_at FROM rota.trigger_due d JOIN rota.trigger t ON t.id = d.trigger_id "
                         "WHERE t.name = 'nightly'")
    assert said.stdout == f'rescheduled trigger "nightly": next firing {instant_text(round(next_at.timestamp() * 1000))}\n'
    assert everything_else(rota) == before
    assert definition(rota, "nightly") == {"job": "report", "priority": 7, "misfire": "skip", "cron": "0 30 4 * * ?",
                                           "timezone": "Europe/Berlin", "dst": {"gap": "skip"}}
    hour = next_at.astimezone(datetime.timezone.utc).hour
    assert next_at.minute == 30 and hour in (2, 3)


@pytest.mark.parametrize("arguments, wanted", [
    (("--every", "5m"), {"every": "5m", "timezone": "Europe/Berlin"}),
    (("--every", "5m", "--repeat", "3", "--timezone", "none"), {"every": "5m", "repeat": 3}),
    (("--at", "2099-01-01T00:00:00Z"), {"at": "2099-01-01T00:00:00.000Z", "timezone": "Europe/Berlin"}),
    (("--calendar-interval", "1 month"), {"calendar_interval": "1 month", "timezone": "Europe/Berlin"}),
    (("--daily", '{"every": "30m", "from": "08:00", "to": "18:00"}'),
     {"daily": {"from": "08:00", "to": "18:00", "every": "30m"}, "timezone": "Europe/Berlin"}),
    (("--timezone", "Asia/Tokyo"), {"cron": "0 0 3 * * ?", "timezone": "Asia/Tokyo", "dst": {"gap": "skip"}}),
    (("--end-at", "2099-01-01T00:00:00Z", "--start-at", "2030-01-01T00:00:00Z"),
     {"cron": "0 0 3 * * ?", "timezone": "Europe/Berlin", "dst": {"gap": "skip"}, "start_at": "2030-01-01T00:00:00.000Z",
      "end_at": "2099-01-01T00:00:00.000Z"}),
])
def test_keys_that_do_not_belong_to_the_new_schedule_go(rota, arguments, wanted):
    rota.apply(job("report", NIGHTLY))
    assert change(rota, "nightly", *arguments)["changed"]
    found = definition(rota, "nightly")
    assert {key: found[key] for key in found if key not in ("job", "priority", "misfire")} == wanted


def test_none_takes_a_limit_away(rota):
    rota.apply(job("report", {**NIGHTLY, "start_at": "2020-01-01T00:00:00Z", "end_at": "2021-01-01T00:00:00Z"}))
    assert change(rota, "nightly", "--timezone", "Asia/Tokyo")["next_fire_time"] is None
    assert change(rota, "nightly", "--end-at", "none", "--start-at", "none")["next_fire_time"] is not None
    assert not {"start_at", "end_at"} & definition(rota, "nightly").keys()


def test_the_same_schedule_changes_nothing(rota):
    rota.apply(job("report", NIGHTLY))
    before = rota.rows("SELECT xmin::text, next_at FROM rota.trigger_due")
    said = change(rota, "nightly", "--cron", "0 0 3 * * ?")
    assert (said["changed"], said["paused"], said["job"]) == (False, False, "report") and said["next_fire_time"]
    assert rota.rows("SELECT xmin::text, next_at FROM rota.trigger_due") == before


def test_a_node_fires_by_the_new_schedule_and_what_was_due_by_the_old_one(rota):
    start = (int(time.time()) - 2) * 1000
    rota.apply(job("report", {"name": "nightly", "every": "1s", "start_at": instant_text(start)}))
    first = rota.value("SELECT next_at FROM rota.trigger_due")
    wait_until(lambda: rota.value("SELECT clock_timestamp()") > first + datetime.timedelta(seconds=0.5), 10)
    change(rota, "nightly", "--at", instant_text(start + 5000))
    rota.node()
    rota.wait_idle()
    fired = [round(at.timestamp() * 1000) for (at,) in rota.rows("SELECT scheduled_at FROM rota.task_history ORDER BY 1")]
    assert fired[0] == round(first.timestamp() * 1000) and fired[-1] == start + 5000 and len(fired) == len(set(fired))


def test_a_paused_trigger_stays_paused_and_says_so(rota):
    rota.apply(job("report", NIGHTLY))
    rota.run("pause", "trigger", "nightly")
    assert rota.run("reschedule", "nightly", "--every", "1s").stdout.endswith("; it is paused\n")
    assert rota.value("SELECT paused FROM rota.trigger_due")


def test_the_next_apply_brings_back_what_the_manifest_declares(rota):
    rota.apply(job("report", NIGHTLY))
    change(rota, "nightly", "--every", "1s")
    assert 'cron default -> "0 0 3 * * ?"' in rota.apply(job("report", NIGHTLY)).stdout


@pytest.mark.parametrize("arguments, code, said", [
    (("nigthly", "--every", "1s"), 4, 'did you mean "nightly"?'),
    (("nightly",), 2, "to what?"),
    ((), 2, "which trigger?"),
    (("nightly", "--cron", "0 0 99 * * ?"), 2, "--cron: "),
    (("nightly", "--cron", ""), 2, "--cron: "),
    (("nightly", "--cron", '0 0 3 * * ?", "x": "'), 2, "--cron: "),
    (("nightly", "--every", "soon"), 2, "--every: "),
    (("nightly", "--every", "1ms"), 2, "--every: "),
    (("nightly", "--timezone", "Europe/Berln"), 2, '--timezone: zone "Europe/Berln" is unknown: did you mean "Europe/Berlin"?'),
    (("nightly", "--cron", "0 0 3 * * ?", "--end-at", "2020-01-01T00:00:00Z", "--start-at", "2021-01-01T00:00:00Z"), 2, "--end-at: "),
    (("nightly", "--repeat", "many"), 2, "--repeat must be a whole number or none"),
    (("nightly", "--repeat", "3"), 2, "--repeat: "),
    (("nightly", "--daily", "{"), 2, "--daily is not JSON"),
    (("nightly", "--daily", "[]"), 2, "--daily: daily must be an object"),
    (("nightly", "--daily", '{"from": "08:00"}'), 2, '--daily: daily has no "every"'),
    (("nightly", "--calendar-interval", "1 fortnight"), 2, "--calendar-interval: "),
    (("nightly", "--cron", "0 0 3 * * ?", "--every", "1s"), 2, "--cron and --every exclude each other"),
    (("nightly", "--every", "1s", "--every", "2s"), 2, "given twice"),
])
def test_a_wrong_value_is_told_by_its_flag(rota, arguments, code, said):
    rota.apply(job("report", NIGHTLY, data=json.loads(DATA)))
    before = rota.rows("SELECT definition, xmin::text FROM rota.trigger")
    done = rota.run("reschedule", *arguments, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and done.stderr.count("\n") == 1 and "definition:" not in done.stderr
    assert rota.rows("SELECT definition, xmin::text FROM rota.trigger") == before


def test_changes_at_the_same_time_do_not_undo_each_other(rota):
    names = [f"t{i}" for i in range(4)]
    rota.apply(job("report", *({"name": name, "cron": "0 0 3 * * ?"} for name in names)))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda name: rota.run("reschedule", name, "--every", f"{int(name[1:]) + 1}h", check=False), names))
    assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]
    assert [definition(rota, name)["every"] for name in names] == ["1h", "2h", "3h", "4h"]


def test_while_an_apply_runs_it_waits_with_a_bound(rota):
    rota.apply(job("report", NIGHTLY))
    with psycopg.connect(rota.url) as apply:
        apply.execute("SELECT pg_advisory_xact_lock(hashtextextended('rota.apply', 0))")
        assert rota.run("reschedule", "nightly", "--every", "1s", "--wait", "200ms", check=False).returncode == 5
