-- New and changed jobs, and the routes their runs take. A new job of a source or fleet that is paused is
-- held from the start.
-- $1 names: of the jobs
-- $2 sources: who declares each
-- $3 descriptions: may be NULL
-- $4 handlers: as declared
-- $5 data: NULL for {}
-- $6 requests_recovery: 0, 1, or NULL
-- $7 durable: true or false
-- $8 priorities: 1 to 100
-- $9 timeouts: in ms, or NULL
-- $10 max_attempts: at least 1
-- $11 backoffs: immediate, fixed, exponential
-- $12 retry_initials: in ms
-- $13 retry_maxima: in ms
-- $14 retry_jitters: 0 to 1
-- $15 max_crashes: at least 1
-- $16 definitions: canonical texts
-- $17 revision: of this apply
-- $18 lane_limits: runs at once, NULL for any number
-- $19 lane_keys: JSON pointers, NULL for one lane
-- $20 persist_data: true or false
-- $21 on_exhausted: fail, error
-- $22 forget: whether persisted data goes, as what was declared in its place has changed
-- on: client
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::json[], $6::integer[], $7::boolean[],
                         $8::integer[], $9::bigint[], $10::integer[], $11::text[], $12::bigint[], $13::bigint[],
                         $14::real[], $15::integer[], $16::text[], $18::integer[], $19::text[], $20::boolean[],
                         $21::text[], $22::boolean[])
                  AS g(name, source, description, handler, data, requests_recovery, durable, priority, timeout_ms,
                       max_attempts, backoff, retry_initial_ms, retry_max_ms, retry_jitter, max_crashes, definition,
                       lane_limit, lane_key, persist_data, on_exhausted, forget)
), route AS MATERIALIZED (
    SELECT rota.route_of(w.handler, w.priority::smallint) AS id FROM (SELECT DISTINCT handler, priority FROM given) w
), written AS (
    INSERT INTO rota.job AS j (name, source, description, handler, data, requests_recovery, durable, priority,
                               timeout_ms, max_attempts, backoff, retry_initial_ms, retry_max_ms, retry_jitter,
                               max_crashes, definition, revision, lane_limit, lane_key, persist_data, on_exhausted,
                               held)
    SELECT g.name, g.source, g.description, g.handler, coalesce(g.data, '{}'), g.requests_recovery = 1, g.durable,
           g.priority, g.timeout_ms, g.max_attempts, g.backoff, g.retry_initial_ms, g.retry_max_ms, g.retry_jitter,
           g.max_crashes, g.definition, $17::bigint, g.lane_limit, g.lane_key, g.persist_data, g.on_exhausted,
           f.paused OR EXISTS (SELECT FROM rota.source_pause s WHERE s.source = g.source)
      FROM given g CROSS JOIN rota.fleet f
    ON CONFLICT (name) DO UPDATE
       SET description = excluded.description, handler = excluded.handler, data = excluded.data,
           requests_recovery = excluded.requests_recovery, durable = excluded.durable, priority = excluded.priority,
           timeout_ms = excluded.timeout_ms, max_attempts = excluded.max_attempts, backoff = excluded.backoff,
           retry_initial_ms = excluded.retry_initial_ms, retry_max_ms = excluded.retry_max_ms,
           retry_jitter = excluded.retry_jitter, max_crashes = excluded.max_crashes,
           definition = excluded.definition, revision = excluded.revision, lane_limit = excluded.lane_limit,
           lane_key = excluded.lane_key, persist_data = excluded.persist_data, on_exhausted = excluded.on_exhausted,
           changed_at = now()
), forgotten AS (
    DELETE FROM rota.job_data d USING given g JOIN rota.job j ON j.name = g.name
     WHERE g.forget AND d.job_id = j.id
)
SELECT count(*) FROM route
