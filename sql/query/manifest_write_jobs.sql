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
-- $23 max_pendings: NULL for any number
-- $24 expires_in: in ms, NULL for never
-- $25 on_failure: names of jobs, NULL for none
-- $26 rate_limits: starts per $27, NULL for no rate
-- $27 rate_pers: in ms
-- $28 rate_bursts: starts at once
-- $29 rate_keys: JSON pointers, NULL for one rate
-- $30 unique_keys: JSON pointers, empty for the whole data, NULL for none
-- $31 unique_untils: started, finished, NULL for the default
-- $32 unique_for: in ms, NULL for none
-- $33 unique_conflicts: what becomes of a run whose key is taken, NULL for the default
-- on: client
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::json[], $6::integer[], $7::boolean[],
                         $8::integer[], $9::bigint[], $10::integer[], $11::text[], $12::bigint[], $13::bigint[],
                         $14::real[], $15::integer[], $16::text[], $18::integer[], $19::text[], $20::boolean[],
                         $21::text[], $22::boolean[], $23::integer[], $24::bigint[], $25::text[], $26::integer[],
                         $27::bigint[], $28::integer[], $29::text[], $30::text[], $31::text[], $32::bigint[], $33::text[])
                  AS g(name, source, description, handler, data, requests_recovery, durable, priority, timeout_ms,
                       max_attempts, backoff, retry_initial_ms, retry_max_ms, retry_jitter, max_crashes, definition,
                       lane_limit, lane_key, persist_data, on_exhausted, forget, max_pending, expires_in_ms, on_failure,
                       rate_limit, rate_per_ms, rate_burst, rate_key, unique_key, unique_until, unique_for_ms,
                       unique_conflict)
), route AS MATERIALIZED (
    SELECT rota.route_of(w.handler, w.priority::smallint) AS id FROM (SELECT DISTINCT handler, priority FROM given) w
), written AS (
    INSERT INTO rota.job AS j (name, source, description, handler, data, requests_recovery, durable, priority,
                               timeout_ms, max_attempts, backoff, retry_initial_ms, retry_max_ms, retry_jitter,
                               max_crashes, definition, revision, lane_limit, lane_key, persist_data, on_exhausted,
                               max_pending, expires_in_ms, on_failure, rate_limit, rate_per_ms, rate_burst, rate_key,
                               unique_key, unique_until, unique_for_ms, unique_conflict, held)
    SELECT g.name, g.source, g.description, g.handler, coalesce(g.data, '{}'), g.requests_recovery = 1, g.durable,
           g.priority, g.timeout_ms, g.max_attempts, g.backoff, g.retry_initial_ms, g.retry_max_ms, g.retry_jitter,
           g.max_crashes, g.definition, $17::bigint, g.lane_limit, g.lane_key, g.persist_data, g.on_exhausted,
           g.max_pending, g.expires_in_ms, g.on_failure, g.rate_limit, g.rate_per_ms, g.rate_burst, g.rate_key,
           g.unique_key, g.unique_until, g.unique_for_ms, g.unique_conflict, f.paused OR EXISTS (SELECT FROM rota.source_pause s WHERE s.source = g.source)
      FROM given g CROSS JOIN rota.fleet f
    ON CONFLICT (name) DO UPDATE
       SET description = excluded.description, handler = excluded.handler, data = excluded.data,
           requests_recovery = excluded.requests_recovery, durable = excluded.durable, priority = excluded.priority,
           timeout_ms = excluded.timeout_ms, max_attempts = excluded.max_attempts, backoff = excluded.backoff,
           retry_initial_ms = excluded.retry_initial_ms, retry_max_ms = excluded.retry_max_ms,
           retry_jitter = excluded.retry_jitter, max_crashes = excluded.max_crashes,
           definition = excluded.definition, revision = excluded.revision, lane_limit = excluded.lane_limit,
           lane_key = excluded.lane_key, persist_data = excluded.persist_data, on_exhausted = excluded.on_exhausted,
           max_pending = excluded.max_pending, expires_in_ms = excluded.expires_in_ms, on_failure = excluded.on_failure,
           rate_limit = excluded.rate_limit, rate_per_ms = excluded.rate_per_ms, rate_burst = excluded.rate_burst,
           rate_key = excluded.rate_key, unique_key = excluded.unique_key, unique_until = excluded.unique_until,
           unique_for_ms = excluded.unique_for_ms, unique_conflict = excluded.unique_conflict,
           changed_at = now()
), forgotten AS (
    DELETE FROM rota.job_data d USING given g JOIN rota.job j ON j.name = g.name
     WHERE g.forget AND d.job_id = j.id
)
SELECT count(*) FROM route
