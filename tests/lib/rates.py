"""Rates for the tests: how they are declared by hand, when runs were claimed, and whether that was too often."""

CLAIMS = """
CREATE TABLE public.claimed (run_id bigint, job_id integer, at timestamptz);
CREATE FUNCTION public.note_claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.claimed SELECT u.id, u.job_id, clock_timestamp() FROM rota.receipt_runs(NEW) AS u;
    RETURN NULL;
END $$;
CREATE TRIGGER note_claim AFTER INSERT ON rota.receipt FOR EACH ROW EXECUTE FUNCTION public.note_claim();
"""
# The claim says when it used a start a moment before its receipt is noted here.
TICK_S = 0.03


def note_claims(rota):
    """From now on each claim is noted, by the database's clock."""
    rota.db.execute(CLAIMS)


def set_rate(rota, job, limit, per_s=1.0, burst=1, key=None):
    """As an apply does it; limit None: no rate any more."""
    with rota.db.transaction():
        rota.db.execute("SELECT rota.bundles_open_jobs(ARRAY(SELECT id FROM rota.job WHERE name = %s))", [job])
        rota.db.execute("UPDATE rota.job SET rate_limit = %s, rate_per_ms = %s, rate_burst = %s, rate_key = %s WHERE name = %s",
                        [limit, limit and round(per_s * 1000), limit and burst, key, job])
        rota.db.execute("UPDATE rota.fleet SET definition_revision = definition_revision + 1")
        rota.db.execute("SELECT rota.rates_changed(%s)", [[job]])


def excess(times, burst, per_second):
    """By how many starts the busiest of all spans of time is beyond burst + rate * span."""
    worst, least = float("-inf"), float("inf")
    for number, at in enumerate(sorted(times)):
        least = min(least, number - per_second * at)
        worst = max(worst, number + 1 - per_second * at - least)
    return worst - burst


def claims(rota, job, value="NULL"):
    """Times of claims by value of their key: `value` is an SQL expression over the run's id."""
    found = {}
    for key, at in rota.rows(f"SELECT {value}, extract(epoch FROM c.at)::float8 FROM claimed c "
                             "JOIN rota.job j ON j.id = c.job_id AND j.name = %s ORDER BY c.at", job):
        found.setdefault(key, []).append(at)
    return found


def assert_within(times, burst, per_second):
    over = excess(times, burst, per_second)
    assert over <= per_second * TICK_S, f"{over:.2f} starts beyond burst {burst} + {per_second}/s, of {len(times)}"
    return over
