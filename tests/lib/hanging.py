"""COMMITs that hang: their server waits for a standby that does not exist. What was committed is in the log of the
server and nobody sees it; with synchronous_commit = local or off nothing waits."""

import contextlib

import psycopg

from waiting import wait_until


@contextlib.contextmanager
def commits_hang(server):
    """Until the end of the block, on the whole server."""
    with psycopg.connect(server.maintenance_url, autocommit=True) as db:
        def set_names(value):
            db.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{value}'")
            db.execute("SELECT pg_reload_conf()")
            wait_until(lambda: db.execute("SHOW synchronous_standby_names").fetchone() == (value,), 10, "the setting")
        set_names("nobody")
        try:
            yield
        finally:
            set_names("")


def hanging(rota, word):
    """Backends that wait at the end of work whose last statement matches this word."""
    return {row[0] for row in rota.rows("""SELECT pid FROM pg_stat_activity
                                            WHERE wait_event = 'SyncRep' AND datname = current_database()
                                              AND query ~ %s""", word)}
