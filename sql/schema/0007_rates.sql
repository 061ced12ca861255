-- Rates: how many runs of a job may start in how much time, over the whole fleet, of each value of a key.
--
-- A run of such a job waits in pending, held R, until its bucket gives it a start; then it is claimed like
-- any other. So claims know nothing of rates, and what waits for its rate is in nobody's way.

-- A bucket has as many starts to give as it holds tokens. Tokens flow in at the job's rate, and no further
-- than its burst less the starts that were given and not used yet, so that in any span of time at most
-- burst + rate * span runs start, cluster-wide.
CREATE TABLE rota.rate_bucket (
    bucket   bigint PRIMARY KEY,
    job_id   integer NOT NULL,
    tokens   double precision NOT NULL,
    as_of    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX rate_bucket_job ON rota.rate_bucket (job_id);

-- Events: somebody waits at this bucket, look at it then. Only inserted and deleted, so that those who
-- enqueue in long transactions hold up nobody.
CREATE TABLE rota.rate_due (
    at     timestamptz NOT NULL,
    bucket bigint NOT NULL,
    job_id integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX rate_due_at ON rota.rate_due (at);
CREATE INDEX rate_due_bucket ON rota.rate_due (bucket);

-- The bucket of a run as its job is defined now; NULL if it has no rate.
CREATE FUNCTION rota.run_bucket(job integer, trigger integer, run_data json) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT hashtextextended('rota.rate/' || j.id || coalesce('/' || CASE WHEN j.rate_key IS NOT NULL
                                THEN rota.lane_value(j.rate_key, run_data, t.data, j.data) END, ''), 0)
      FROM rota.job j LEFT JOIN rota.trigger t ON t.id = run_bucket.trigger
     WHERE j.id = run_bucket.job AND j.rate_limit IS NOT NULL
$$;

-- Gives out starts at the buckets whose time has come: as many of those that wait as there are tokens, in
-- order of rank (see lane_wake), and notes when each is to be looked at again. Two nodes may call it at
-- once: a bucket belongs to who has its advisory lock, and its events stay with him. Returns how many runs
-- it released.
CREATE FUNCTION rota.rate_wake(at_most integer DEFAULT 100) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    mine bigint[];
    released bigint := 0;
    one record;
    room integer;
    got integer;
    laned boolean := false;
    plain boolean := false;
BEGIN
    mine := rota.lane_try(ARRAY(SELECT DISTINCT d.bucket FROM (SELECT r.bucket FROM rota.rate_due r WHERE r.at <= clock_timestamp()
                                                               ORDER BY r.at LIMIT at_most) d));
    IF cardinality(mine) = 0 THEN
        RETURN 0;
    END IF;
    -- what comes in after this is about rows that we may not see: it stays
    DELETE FROM rota.rate_due r WHERE r.bucket = ANY (mine) AND r.at <= clock_timestamp();
    INSERT INTO rota.rate_bucket (bucket, job_id, tokens)
    SELECT p.bucket, p.job_id, coalesce(j.rate_burst, 1)
      FROM unnest(mine) AS m(bucket) CROSS JOIN LATERAL (
           SELECT w.bucket, w.job_id FROM rota.pending w WHERE w.bucket = m.bucket AND w.held = 'R' LIMIT 1) p
           LEFT JOIN rota.job j ON j.id = p.job_id
    ON CONFLICT (bucket) DO NOTHING;
    FOR one IN
        SELECT b.bucket, b.job_id, j.id IS NULL OR j.rate_limit IS NULL AS free, coalesce(j.held, false) AS job_held,
               j.rate_limit / (j.rate_per_ms / 1000.0) AS rate,
               least(j.rate_burst - (SELECT count(*) FROM rota.pending g
                                      WHERE g.bucket = b.bucket AND g.held IS DISTINCT FROM 'R'),
                     b.tokens + greatest(0, extract(epoch FROM clock_timestamp() - b.as_of)) * j.rate_limit
                                / (j.rate_per_ms / 1000.0)) AS tokens
          FROM rota.rate_bucket b LEFT JOIN rota.job j ON j.id = b.job_id
         WHERE b.bucket = ANY (mine)
         ORDER BY b.bucket
    LOOP
        room := CASE WHEN one.free THEN 10000 WHEN one.job_held THEN 0 ELSE least(1000, floor(greatest(0, one.tokens))) END;
        got := 0;
        IF room > 0 THEN
            WITH RECURSIVE head AS (
                (SELECT p.route FROM rota.pending p WHERE p.bucket = one.bucket AND p.held = 'R' ORDER BY p.route LIMIT 1)
                UNION ALL
                SELECT n.route FROM head k CROSS JOIN LATERAL (
                       SELECT p.route FROM rota.pending p
                        WHERE p.bucket = one.bucket AND p.held = 'R' AND p.route > k.route ORDER BY p.route LIMIT 1) n
            ), candidate AS MATERIALIZED (
                SELECT h.id, h.held_due - r.priority * interval '1 minute' AS rank
                  FROM head k JOIN rota.route r ON r.id = abs(k.route)
                       CROSS JOIN LATERAL (
                       SELECT p.id, p.held_due FROM rota.pending p
                        WHERE p.bucket = one.bucket AND p.held = 'R' AND p.route = k.route
                          AND p.held_due <= clock_timestamp()
                        ORDER BY p.held_due LIMIT room FOR UPDATE SKIP LOCKED) h
            ), given AS (
                UPDATE rota.pending p SET due = p.held_due, held = NULL, held_due = NULL
                 WHERE p.id = ANY (ARRAY(SELECT c.id FROM candidate c ORDER BY c.rank, c.id LIMIT room)) AND p.held = 'R'
                RETURNING p.lane
            )
            SELECT count(*), laned OR count(g.lane) > 0, plain OR count(g.lane) < count(*) INTO got, laned, plain FROM given g;
            released := released + got;
        END IF;
        IF NOT one.free THEN
            UPDATE rota.rate_bucket b SET tokens = greatest(0, one.tokens) - got, as_of = clock_timestamp()
             WHERE b.bucket = one.bucket;
        END IF;
        INSERT INTO rota.rate_due (at, bucket, job_id)
        SELECT CASE WHEN one.free THEN greatest(w.first, clock_timestamp())
                    WHEN one.job_held THEN clock_timestamp() + interval '5 s'
                    ELSE greatest(w.first, clock_timestamp()
                                           + greatest(0.02, (1 - greatest(0, one.tokens) + got) / one.rate) * interval '1 s') END,
               one.bucket, one.job_id
          FROM (SELECT min(f.held_due) AS first
                  FROM (WITH RECURSIVE head AS (
                            (SELECT p.route, p.held_due FROM rota.pending p
                              WHERE p.bucket = one.bucket AND p.held = 'R' ORDER BY p.route, p.held_due LIMIT 1)
                            UNION ALL
                            SELECT n.route, n.held_due FROM head k CROSS JOIN LATERAL (
                                   SELECT p.route, p.held_due FROM rota.pending p
                                    WHERE p.bucket = one.bucket AND p.held = 'R' AND p.route > k.route
                                    ORDER BY p.route, p.held_due LIMIT 1) n)
                        SELECT h.held_due FROM head h) f) w
         WHERE w.first IS NOT NULL;
    END LOOP;
    IF plain THEN
        PERFORM pg_notify('rota.wake', '');
    END IF;
    IF laned THEN
        PERFORM pg_notify('rota.wake', 'lane');
    END IF;
    RETURN released;
END $$;

-- Runs were put to wait at these buckets, due then: an event for each, and a word to the nodes.
CREATE FUNCTION rota.rate_tell(buckets bigint[], jobs integer[], dues timestamptz[]) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO rota.rate_due (at, bucket, job_id)
    SELECT min(w.due), w.bucket, min(w.job_id) FROM unnest(buckets, jobs, dues) AS w(bucket, job_id, due)
     WHERE w.bucket IS NOT NULL GROUP BY w.bucket;
    SELECT pg_notify('rota.wake', 'rate');
$$;

-- For the leader: looks after buckets whose event was lost, and forgets those that are full and idle.
-- Returns how many events were missing: none, unless a waiting run was taken away in between.
CREATE FUNCTION rota.rate_sweep() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    missing bigint;
BEGIN
    WITH RECURSIVE waiting AS ( -- each bucket once
        (SELECT p.bucket, p.job_id FROM rota.pending p WHERE p.held = 'R' ORDER BY p.bucket LIMIT 1)
        UNION ALL
        SELECT n.bucket, n.job_id FROM waiting k CROSS JOIN LATERAL (
               SELECT p.bucket, p.job_id FROM rota.pending p
                WHERE p.bucket > k.bucket AND p.held = 'R' ORDER BY p.bucket LIMIT 1) n
    ), told AS (
        INSERT INTO rota.rate_due (at, bucket, job_id)
        SELECT now(), w.bucket, w.job_id FROM waiting w
         WHERE NOT EXISTS (SELECT FROM rota.rate_due d WHERE d.bucket = w.bucket)
        RETURNING 1
    )
    SELECT count(*) INTO missing FROM told;
    DELETE FROM rota.rate_bucket b
     WHERE b.as_of < now() - interval '1 hour'
       AND b.as_of < now() - (SELECT coalesce(max(j.rate_per_ms), 0) FROM rota.job j WHERE j.id = b.job_id) * 2 * interval '1 ms'
       AND NOT EXISTS (SELECT FROM rota.pending p WHERE p.bucket = b.bucket AND p.held = 'R')
       AND NOT EXISTS (SELECT FROM rota.pending p WHERE p.bucket = b.bucket AND p.held IS DISTINCT FROM 'R');
    RETURN missing;
END $$;

-- After an apply: what waits of jobs whose rate or key has changed waits at its bucket of now.
CREATE FUNCTION rota.rates_changed(names text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    jobs integer[] := ARRAY(SELECT j.id FROM rota.job j WHERE j.name = ANY (names));
BEGIN
    UPDATE rota.pending p
       SET bucket = w.bucket,
           due = CASE WHEN w.bucket IS NULL AND p.held = 'R' THEN p.held_due
                      WHEN w.bucket IS NOT NULL AND p.held IS NULL THEN 'infinity' ELSE p.due END,
           held_due = CASE WHEN w.bucket IS NULL AND p.held = 'R' THEN NULL
                           WHEN w.bucket IS NOT NULL AND p.held IS NULL THEN p.due ELSE p.held_due END,
           held = CASE WHEN w.bucket IS NULL AND p.held = 'R' THEN NULL
                       WHEN w.bucket IS NOT NULL AND p.held IS NULL THEN 'R' ELSE p.held END
      FROM (SELECT q.id, rota.run_bucket(q.job_id, q.trigger_id, q.data) AS bucket
              FROM rota.pending q WHERE q.job_id = ANY (jobs)) w
     WHERE p.id = w.id AND p.bucket IS DISTINCT FROM w.bucket;
    DELETE FROM rota.rate_bucket b WHERE b.job_id = ANY (jobs)
       AND NOT EXISTS (SELECT FROM rota.pending p WHERE p.bucket = b.bucket AND p.held = 'R');
    PERFORM rota.rate_tell(array_agg(p.bucket), array_agg(p.job_id), array_agg(p.held_due))
       FROM rota.pending p WHERE p.job_id = ANY (jobs) AND p.held = 'R';
    PERFORM pg_notify('rota.wake', 'definitions');
END $$;

INSERT INTO rota.schema_version (version, name, needs) VALUES (7, '0007_rates', 1);
