"""A worker of a pool (protocol 1 on stdin and stdout) whose runs sit down in a table that refuses two at
once: what overlaps is written down. Of the data: `lane` names the seat (none: no seat is taken), `sleep`
says for how long. The seat is also a session's advisory lock, so that one whose process was killed is
known to be free. Arguments: database, slots."""

import json
import sys
import threading

import psycopg

output = threading.Lock()


def say(message):
    with output:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def sit(db, lane, message, node):
    """Whether nobody else sits there."""
    try:
        alone = db.execute("SELECT pg_try_advisory_lock(hashtext(%s))", (lane,)).fetchone()[0]
        if alone:  # whoever sat here and did not get up is dead
            db.execute("UPDATE seat SET during = tstzrange(lower(during), clock_timestamp()) "
                       "WHERE lane = %s AND upper_inf(during)", (lane,))
        db.execute("INSERT INTO seat VALUES (%s, %s, %s, pg_backend_pid(), tstzrange(clock_timestamp(), NULL))",
                   (lane, message["id"], node))
        return alone
    except psycopg.errors.ExclusionViolation:
        return False


def work(db, message, node, pause):
    data = message["data"]
    lane, seats = data.get("lane", ""), data.get("seats", 1)
    visit = db.execute("INSERT INTO visit (lane, run, trigger, scheduled) VALUES (%s, %s, %s, %s) RETURNING ctid::text",
                       (lane, message["id"], message.get("trigger"), message["scheduled_time"])).fetchone()[0]
    alone = seats > 1 or sit(db, lane, message, node)
    if not alone:
        db.execute("INSERT INTO overlap VALUES (%s, %s, %s)", (lane, message["id"], f"on {node}: somebody sits there"))
    pause.wait(data.get("sleep", 0))
    if alone and seats == 1:
        db.execute("UPDATE seat SET during = tstzrange(lower(during), clock_timestamp()) WHERE lane = %s AND run = %s "
                   "AND upper_inf(during)", (lane, message["id"]))
        db.execute("SELECT pg_advisory_unlock(hashtext(%s))", (lane,))
    db.execute("UPDATE visit SET gone = clock_timestamp() WHERE ctid = %s::tid", (visit,))


def main():
    url, slots = sys.argv[1], int(sys.argv[2])
    say({"type": "hello", "protocol": 1, "handlers": ["exclusive"], "slots": slots})
    idle, node = [], "?"

    def perform(message):
        db = idle.pop() if idle else psycopg.connect(url, autocommit=True)
        work(db, message, node, threading.Event())
        idle.append(db)
        data = message["data"]
        if data.get("fail"):
            say({"type": "fail", "id": message["id"], "fence": message["fence"], "message": data["fail"]})
        else:
            say({"type": "done", "id": message["id"], "fence": message["fence"]})

    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "welcome":
            node = message["node"]
        elif message["type"] == "run":
            threading.Thread(target=perform, args=(message,), daemon=True).start()


main()
