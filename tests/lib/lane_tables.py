"""What exclusive_worker.py writes down: who sits where, who was there, and who found his seat taken."""

import os

WORKER = os.path.join(os.path.dirname(__file__), "exclusive_worker.py")

TABLES = """
CREATE EXTENSION btree_gist;
CREATE TABLE seat (lane text NOT NULL, run bigint NOT NULL, node text NOT NULL, pid integer NOT NULL, during tstzrange NOT NULL,
                   EXCLUDE USING gist (lane WITH =, during WITH &&));
CREATE TABLE visit (lane text NOT NULL, run bigint NOT NULL, trigger text, scheduled timestamptz NOT NULL,
                    entered timestamptz NOT NULL DEFAULT clock_timestamp(), gone timestamptz);
CREATE TABLE overlap (lane text NOT NULL, run bigint NOT NULL, why text NOT NULL, at timestamptz DEFAULT clock_timestamp());
"""


def create(rota):
    for statement in TABLES.strip().split(";\n"):
        rota.db.execute(statement)


def pool(rota, slots=8, processes=1):
    """The setting `pools` for such workers."""
    return {"exclusive": {"command": ["/usr/bin/python3", WORKER, rota.url, str(slots)], "processes": processes}}


def assert_no_overlap(rota):
    assert rota.rows("SELECT lane, run, why, at FROM overlap") == []
