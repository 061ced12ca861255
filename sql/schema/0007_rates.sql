-- Rates: how many runs of a job may start in how much time, over the whole fleet, of each value of a key.
--
-- A run of such a job waits in pending, held R, until its bucket gives it a start; then it is claimed like
-- any other. So claims know nothing of rates, and what waits for its rate is in nobody's way.

-- A bucket has as many starts to give as it holds tokens. Tokens flow in at the job's rate, and no further
-- than its burst less the starts that were given and not used yet: so that in any span of time at most
-- burst + rate * span runs are claimed, cluster-wide. Claims say when they used one, as an event; of what
-- else becomes of a start (its run was cancelled, its job paused) it is believed that it was used just now.
CREATE TABLE rota.rate_bucket (
    bucket   bigint PRIMARY KEY,
    job_id   integer NOT NULL,
    tokens   double precision NOT NULL,
    granted  bigint NOT NULL DEFAULT 0, -- starts that were given and not used, as of then
    as_of    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);

-- Events: somebody waits at this bucket, or a start was used: look at it then. Only inserted and deleted, so
-- that those who enqueue in long transactions hold up nobody.
CREATE TABLE rota.rate_due (
    at      timestamptz NOT NULL,
    bucket  bigint NOT NULL,
    job_id  integer NOT NULL,
    started boolean NOT NULL DEFAULT false -- one of its runs was claimed at this time
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX rate_due_at ON rota.rate_due (at);
CREATE INDEX rate_due_bucket ON rota.rate_due (bucket, at);

-- The bucket of a run as its job is defined now; NULL if it has no rate.
CREATE FUNCTION rota.run_bucket(job integer, trigger integer, run_data json) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT hashtextextended('rota.rate/' || j.id || coalesce('/' || CASE WHEN j.rate_key IS NOT NULL
                                THEN rota.lane_value(j.rate_key, run_data, t.data, j.data) END, ''), 0)
      FROM rota.job j LEFT JOIN rota.trigger t ON t.id = run_bucket.trigger
     WHERE j.id = run_bucket.job AND j.rate_limit IS NOT NULL
$$;

-- How many tokens a bucket has now, after starts were used at these times. As in rate_bucket: tokens and
-- unused starts together are never more than the burst. unused: of its runs, those that still wait.
CREATE FUNCTION rota.rate_level(b rota.rate_bucket, burst integer, per_second double precision, used timestamptz[],
                                unused bigint, until timestamptz) RETURNS double precision
LANGUAGE plpgsql STABLE AS $$
DECLARE
    level double precision := b.tokens;
    granted bigint := b.granted;
    at timestamptz := b.as_of;
    one timestamptz;
BEGIN
    FOREACH one IN ARRAY coalesce(used, '{}') LOOP
        one := greatest(at, least(one, until));
        level := least(greatest(0, burst - granted), level + extract(epoch FROM one - at) * per_second);
        granted := greatest(0, granted - 1);
        at := one;
    END LOOP;
    RETURN greatest(0, least(burst - greatest(granted, unused),
                             level + greatest(0, extract(epoch FROM until - at)) * per_second));
END $$;

-- Gives starts to those that wait at a bucket, in order of rank (see lane_wake). Returns how many of them
-- belong to lanes, and how many do not.
CREATE FUNCTION rota.rate_give(at_bucket bigint, room integer) RETURNS TABLE (laned bigint, plain bigint)
LANGUAGE plpgsql AS $$ -- whose plans are kept
BEGIN
    RETURN QUERY
    WITH RECURSIVE head AS (
        (SELECT p.route FROM rota.pending p WHERE p.bucket = at_bucket AND p.held = 'R' ORDER BY p.route LIMIT 1)
        UNION ALL
        SELECT n.route FROM head k CROSS JOIN LATERAL (
               SELECT p.route FROM rota.pending p
                WHERE p.bucket = at_bucket AND p.held = 'R' AND p.route > k.route ORDER BY p.route LIMIT 1) n
    ), candidate AS MATERIALIZED (
        SELECT h.id, h.held_due - r.priority * interval '1 minute' AS rank
          FROM head k JOIN rota.route r ON r.id = abs(k.route)
               CROSS JOIN LATERAL (
               SELECT p.id, p.held_due FROM rota.pending p
                WHERE p.bucket = at_bucket AND p.held = 'R' AND p.route = k.route
                  AND p.held_due <= (SELECT clock_timestamp()) -- once: the index ends there
                ORDER BY p.held_due LIMIT room FOR UPDATE SKIP LOCKED) h
    ), given AS (
        UPDATE rota.pending p SET due = p.held_due, held = NULL, held_due = NULL
         WHERE p.id = ANY (ARRAY(SELECT c.id FROM candidate c ORDER BY c.rank, c.id LIMIT room)) AND p.held = 'R'
        RETURNING p.lane
    )
    SELECT count(g.lane), count(*) - count(g.lane) FROM given g;
END $$;

-- When the first of those that wait at a bucket is due; NULL: nobody waits.
CREATE FUNCTION rota.rate_first(at_bucket bigint) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
    WITH RECURSIVE head AS (
        (SELECT p.route, p.held_due FROM rota.pending p
          WHERE p.bucket = at_bucket AND p.held = 'R' ORDER BY p.route, p.held_due LIMIT 1)
        UNION ALL
        SELECT n.route, n.held_due FROM head k CROSS JOIN LATERAL (
               SELECT p.route, p.held_due FROM rota.pending p
                WHERE p.bucket = at_bucket AND p.held = 'R' AND p.route > k.route
                ORDER BY p.route, p.held_due LIMIT 1) n
    )
    SELECT min(h.held_due) FROM head h);
END $$;

-- Gives out starts at the buckets whose time has come: as many of those that wait as there are tokens, and
-- notes when each is to be looked at again. Two nodes may call it at once: a bucket belongs to who has its
-- advisory lock, and its events stay with him. Returns how many buckets it looked at, how many runs it released,
-- of lanes and others, and when the next event is.
-- Nobody looks at buckets of a job that is paused: its resume tells.
CREATE FUNCTION rota.rate_wake(at_most integer DEFAULT 100) RETURNS TABLE (looked integer, laned bigint, plain bigint, next_at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    mine bigint[] := rota.lane_try(ARRAY(SELECT DISTINCT d.bucket
                                           FROM (SELECT r.bucket FROM rota.rate_due r WHERE r.at <= (SELECT clock_timestamp())
                                                  ORDER BY r.at LIMIT at_most) d));
    one record;
    moment timestamptz;
    level double precision;
    gave record;
    got bigint;
    first timestamptz;
BEGIN
    looked := cardinality(mine);
    laned := 0;
    plain := 0;
    INSERT INTO rota.rate_bucket (bucket, job_id, tokens)
    SELECT p.bucket, p.job_id, coalesce(j.rate_burst, 1)
      FROM unnest(mine) AS m(bucket) CROSS JOIN LATERAL (
           SELECT w.bucket, w.job_id FROM rota.pending w WHERE w.bucket = m.bucket AND w.held = 'R' LIMIT 1) p
           LEFT JOIN rota.job j ON j.id = p.job_id
    ON CONFLICT (bucket) DO NOTHING;
    FOR one IN
        -- one snapshot: a start is unused, or its use is among the events, or both are for the next look. What
        -- comes in after this is about rows that we may not see: it stays.
        WITH event AS (
            DELETE FROM rota.rate_due r WHERE r.bucket = ANY (mine) AND r.at <= (SELECT clock_timestamp())
            RETURNING r.bucket, r.at, r.started
        )
        SELECT b AS bucket, j.id IS NULL OR j.rate_limit IS NULL AS free, coalesce(j.held, false) AS paused, j.rate_burst AS burst,
               j.rate_limit / (j.rate_per_ms / 1000.0) AS per_second,
               (SELECT count(*) FROM rota.pending g
                 WHERE g.bucket = b.bucket AND (g.held IS NULL OR g.held = 'L')) AS unused,
               (SELECT array_agg(e.at ORDER BY e.at) FROM event e WHERE e.bucket = b.bucket AND e.started) AS used
          FROM rota.rate_bucket b LEFT JOIN rota.job j ON j.id = b.job_id
         WHERE b.bucket = ANY (mine)
    LOOP
        moment := clock_timestamp();
        level := CASE WHEN one.free THEN 1000
                      ELSE rota.rate_level(one.bucket, one.burst, one.per_second, one.used, one.unused, moment) END;
        got := 0;
        IF level >= 1 AND NOT one.paused THEN
            SELECT g.laned, g.plain INTO gave FROM rota.rate_give((one.bucket).bucket, least(1000, floor(level))::integer) g;
            got := gave.laned + gave.plain;
            laned := laned + gave.laned;
            plain := plain + gave.plain;
        END IF;
        UPDATE rota.rate_bucket b
           SET tokens = CASE WHEN one.free THEN 0 ELSE level - got END, granted = one.unused + got, as_of = moment
         WHERE b.bucket = (one.bucket).bucket;
        CONTINUE WHEN one.paused;
        first := rota.rate_first((one.bucket).bucket);
        CONTINUE WHEN first IS NULL;
        first := greatest(first, moment + CASE WHEN got = 0 AND level >= 1 AND first <= moment
                                               THEN interval '100 ms' -- others have their rows locked
                                               WHEN one.free THEN interval '2 ms'
                                               -- all it has are given: a claim will say so
                                               WHEN one.burst - one.unused - got < 1 THEN interval '500 ms'
                                               ELSE greatest(0.002, (1 - level + got) / one.per_second) * interval '1 s' END);
        INSERT INTO rota.rate_due (at, bucket, job_id)
        SELECT first, (one.bucket).bucket, (one.bucket).job_id
         WHERE NOT EXISTS (SELECT FROM rota.rate_due d WHERE d.bucket = (one.bucket).bucket AND d.at <= first AND NOT d.started);
    END LOOP;
    IF plain > 0 THEN
        PERFORM rota.wake('');
    END IF;
    IF laned > 0 THEN
        PERFORM rota.wake('lane');
    END IF;
    next_at := (SELECT min(r.at) FROM rota.rate_due r);
    RETURN NEXT;
END $$;

-- Runs were put to wait at these buckets, due then: an event for each, and a word to the nodes.
CREATE FUNCTION rota.rate_tell(buckets bigint[], jobs integer[], dues timestamptz[]) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO rota.rate_due (at, bucket, job_id)
    SELECT min(w.due), w.bucket, min(w.job_id) FROM unnest(buckets, jobs, dues) AS w(bucket, job_id, due)
     WHERE w.bucket IS NOT NULL GROUP BY w.bucket;
    SELECT rota.wake('rate');
$$;

-- The same for all that wait of these jobs; NULL: of all jobs.
CREATE FUNCTION rota.rate_tell_jobs(jobs integer[]) RETURNS void
LANGUAGE sql VOLATILE AS $$
    SELECT rota.rate_tell(array_agg(w.bucket), array_agg(w.job_id), array_agg(w.due))
      FROM (SELECT p.bucket, p.job_id, min(p.held_due) AS due FROM rota.pending p
             WHERE p.held = 'R' AND (jobs IS NULL OR p.job_id = ANY (jobs)) GROUP BY p.bucket, p.job_id) w
    HAVING count(*) > 0
$$;

-- For the leader: looks after a slice, beyond `since`, of the buckets whose event was lost, and now and then
-- forgets those that are full and idle. Returns how many events were missing: none, unless a waiting run was
-- taken away in between; and where the next slice begins.
CREATE FUNCTION rota.rate_sweep(since bigint) RETURNS TABLE (missing bigint, next_since bigint)
LANGUAGE plpgsql AS $$
DECLARE
    first CONSTANT bigint := '-9223372036854775808';
    idle bigint[];
BEGIN
    WITH RECURSIVE waiting AS ( -- each bucket once
        (SELECT p.bucket, p.job_id FROM rota.pending p WHERE p.bucket > since AND p.held = 'R' ORDER BY p.bucket LIMIT 1)
        UNION ALL
        SELECT n.bucket, n.job_id FROM waiting k CROSS JOIN LATERAL (
               SELECT p.bucket, p.job_id FROM rota.pending p
                WHERE p.bucket > k.bucket AND p.held = 'R' ORDER BY p.bucket LIMIT 1) n
    ), slice AS MATERIALIZED (
        SELECT w.bucket, w.job_id FROM waiting w LIMIT 5000
    ), told AS (
        INSERT INTO rota.rate_due (at, bucket, job_id)
        SELECT now(), w.bucket, w.job_id FROM slice w
         WHERE (NOT EXISTS (SELECT FROM rota.rate_due d WHERE d.bucket = w.bucket)
                -- the clock has been set back, and the event is as far ahead
                OR EXISTS (SELECT FROM rota.rate_bucket b WHERE b.bucket = w.bucket AND b.as_of > clock_timestamp() + interval '5 s'))
           AND NOT EXISTS (SELECT FROM rota.job j WHERE j.id = w.job_id AND j.held)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM told), CASE WHEN count(*) < 5000 THEN first ELSE max(s.bucket) END
      INTO missing, next_since FROM slice s;
    IF extract(epoch FROM clock_timestamp())::bigint % 20 < 6 THEN -- it is called about every 5 s
        idle := rota.lane_try(ARRAY(SELECT b.bucket FROM rota.rate_bucket b LEFT JOIN rota.job j ON j.id = b.job_id
                                     WHERE b.as_of < now() - interval '1 minute'
                                       AND coalesce(b.tokens + extract(epoch FROM now() - b.as_of)
                                                               * j.rate_limit / (j.rate_per_ms / 1000.0) >= j.rate_burst, true)
                                     LIMIT 1000));
        DELETE FROM rota.rate_bucket b
         WHERE b.bucket = ANY (idle)
           AND NOT EXISTS (SELECT FROM rota.rate_due d WHERE d.bucket = b.bucket)
           AND NOT EXISTS (SELECT FROM rota.pending p WHERE p.bucket = b.bucket AND p.held = 'R')
           AND NOT EXISTS (SELECT FROM rota.pending p WHERE p.bucket = b.bucket AND (p.held IS NULL OR p.held = 'L'))
           AND NOT EXISTS (SELECT FROM rota.job j
                            WHERE j.id = b.job_id AND j.rate_limit IS NOT NULL
                              AND b.tokens + extract(epoch FROM now() - b.as_of) * j.rate_limit / (j.rate_per_ms / 1000.0)
                                  < j.rate_burst);
    END IF;
    RETURN NEXT;
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
                      WHEN w.bucket IS NOT NULL AND (p.held IS NULL OR p.held = 'L') THEN 'infinity' ELSE p.due END,
           held_due = CASE WHEN w.bucket IS NULL AND p.held = 'R' THEN NULL
                           WHEN w.bucket IS NOT NULL AND p.held IS NULL THEN p.due ELSE p.held_due END,
           held = CASE WHEN w.bucket IS NULL AND p.held = 'R' THEN NULL
                       WHEN w.bucket IS NOT NULL AND (p.held IS NULL OR p.held = 'L') THEN 'R' ELSE p.held END
      FROM (SELECT q.id, rota.run_bucket(q.job_id, q.trigger_id, q.data) AS bucket
              FROM rota.pending q WHERE q.job_id = ANY (jobs)) w
     WHERE p.id = w.id AND p.bucket IS DISTINCT FROM w.bucket;
    PERFORM rota.rate_tell_jobs(jobs);
    PERFORM pg_notify('rota.wake', 'definitions');
END $$;

INSERT INTO rota.schema_version (version, name, needs) VALUES (7, '0007_rates', 1);
