"""Manifests as Python objects, applying them, and what came of them in the database."""

import datetime
import json

UTC = datetime.timezone.utc
KINDS = {"cron", "every", "at", "calendar_interval", "daily"}
TABLES = ("job", "trigger", "trigger_due", "route", "fleet", "pending", "calendar")


def manifest(*jobs, source="test", **more):
    return {"source": source, "jobs": list(jobs), **more}


def job(name, *triggers, handler="noop", **more):
    declared = {"name": name, "handler": handler, **more}
    if triggers:
        declared["triggers"] = list(triggers)
    else:
        declared.setdefault("durable", True)
    return declared


def trigger(name, **more):
    if not KINDS & more.keys():
        more["cron"] = "0 0 2 * * ?"
    return {"name": name, **more}


class Apply:
    """Applies a manifest (or a text) and returns the diff; `.refused` returns the failed process."""

    def __init__(self, rota, directory):
        self.rota = rota
        self.path = directory / "manifest.json"

    def write(self, what):
        self.path.write_text(what if isinstance(what, str) else json.dumps(what))
        return str(self.path)

    def __call__(self, what, *options):
        return json.loads(self.rota.run("apply", "-f", self.write(what), "--json", *options).stdout)

    def refused(self, what, *options):
        result = self.rota.run("apply", "-f", self.write(what), *options, check=False)
        assert result.returncode != 0
        return result


def row(rota, query, *parameters):
    found = rota.rows(query, *parameters)
    assert len(found) == 1
    return found[0]


def versions(rota):
    """The row versions of everything an apply writes: equal means that nothing was touched."""
    return [rota.rows(f"SELECT xmin::text, ctid::text FROM rota.{table} ORDER BY ctid") for table in TABLES]


def changes(diff):
    return [(change["action"], change["kind"], change["name"]) for change in diff["changes"]]


def due(rota, name):
    return row(rota, """SELECT d.state::text AS state, d.next_at, d.previous_at, d.fired, d.missed, d.revision,
                               r.handler, r.priority
                          FROM rota.trigger_due d JOIN rota.trigger t ON t.id = d.trigger_id
                               JOIN rota.route r ON r.id = abs(d.route) WHERE t.name = %s""", name)


NEXT, PREVIOUS, REVISION = 1, 2, 5


def make_due(rota, name, next_at, **more):
    """As if nobody had fired it since then."""
    rota.db.execute("UPDATE rota.trigger t SET start_at = '2020-01-01T00:00:00Z' WHERE name = %s", (name,))
    rota.db.execute("""UPDATE rota.trigger_due d SET next_at = %s, paused = %s, state = %s FROM rota.trigger t
                        WHERE t.id = d.trigger_id AND t.name = %s""",
                    (next_at, more.get("paused", False), more.get("state", "W"), name))


def waiting(rota):
    return rota.rows("""SELECT t.name, p.scheduled_at, p.missed, r.handler, r.priority FROM rota.pending p
                          JOIN rota.trigger t ON t.id = p.trigger_id JOIN rota.route r ON r.id = abs(p.route)
                         ORDER BY p.scheduled_at""")
