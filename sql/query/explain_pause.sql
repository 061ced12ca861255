-- By what a job is paused, or one of its triggers. No row: it is not.
-- $1 job: its name
-- $2 trigger: its name; NULL: the job alone, as for its runs
-- on: client
WITH pause AS (
    SELECT 1 AS place, 'all' AS scope, NULL AS name FROM rota.fleet f WHERE f.paused
    UNION ALL
    SELECT 2, 'source', j.source FROM rota.job j JOIN rota.source_pause s ON s.source = j.source WHERE j.name = $1::text
    UNION ALL
    SELECT 3, 'job', j.name FROM rota.job j WHERE j.name = $1::text AND j.paused
    UNION ALL
    SELECT 4, 'trigger', t.name FROM rota.trigger t WHERE t.name = $2::text AND t.paused
)
SELECT json_build_object('reason', 'paused', 'by', json_agg(p.scope ORDER BY p.place))::text,
       'it is paused' || coalesce(' since ' || rota.instant_text((SELECT d.paused_at FROM rota.trigger t JOIN rota.trigger_due d
                                                                     ON d.trigger_id = t.id WHERE t.name = $2::text)), '')
       || ': ' || string_agg(format('`rota resume %s`', concat_ws(' ', p.scope, p.name)), ', ' ORDER BY p.place)
  FROM pause p HAVING count(*) > 0
