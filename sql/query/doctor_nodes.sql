-- Each node that is registered: lease, lock, state; and whether any runs.
-- on: client
WITH node AS MATERIALIZED (
    SELECT s.node, s.incarnation, s.state, s.running, s.version, s.host, s.pid, s.wish, s.wished_at,
           s.lease_until - clock_timestamp() AS lease_left, s.evicted_at, s.versions, i.lease_ms, i.restart_delay_ms,
           EXISTS (SELECT FROM pg_locks l
                    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted AND l.objid = s.incarnation::bigint::oid
                      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) AS locked
      FROM rota.node_state s JOIN rota.incarnation i ON i.id = s.incarnation
), work AS (
    SELECT EXISTS (SELECT FROM rota.trigger_due d WHERE d.state = 'W' AND NOT d.paused)
           OR EXISTS (SELECT FROM rota.pending p WHERE p.held IS NULL)
           OR EXISTS (SELECT FROM rota.bundle b WHERE b.held_due IS NULL) AS waits
), told AS (
    SELECT n.node, n.lease_left,
           CASE WHEN n.lease_left < -interval '30 s' AND NOT n.locked THEN 'stuck'
                WHEN n.evicted_at IS NOT NULL THEN 'evicted'
                WHEN n.lease_left < interval '0' AND n.locked THEN 'silent'
                WHEN n.lease_left < interval '0' THEN 'dead'
                WHEN NOT n.locked THEN 'unlocked'
                WHEN n.state = 'standby' THEN 'standby' ELSE 'good' END AS kind,
           format('%s is %s, version %s on %s (process %s), %s runs out', n.node,
                  CASE n.state WHEN 'standby' THEN 'standing by' ELSE n.state END, n.version, n.host, n.pid, n.running) AS who,
           n.wish, n.wished_at
      FROM node n
)
SELECT CASE WHEN t.kind IN ('stuck', 'silent') THEN 'bad' WHEN t.kind = 'good' THEN 'ok' ELSE 'warn' END,
       CASE t.kind WHEN 'stuck' THEN 'stuck_lease' ELSE 'node' END, 'node ' || t.node,
       t.who || CASE t.kind
            WHEN 'stuck' THEN format('; it is dead, its lease is over since %s, and nobody takes its runs over', rota.span_text(-t.lease_left))
            WHEN 'evicted' THEN format('; runs of lanes go on elsewhere in %s', rota.span_text(t.lease_left))
            WHEN 'silent' THEN format('; it is connected and has not renewed its lease, which is over since %s', rota.span_text(-t.lease_left))
            WHEN 'dead' THEN format('; it is dead, its lease is over since %s', rota.span_text(-t.lease_left))
            WHEN 'unlocked' THEN format('; it is not connected just now, its lease is good for %s', rota.span_text(t.lease_left))
            ELSE format('; its lease is good for %s%s', rota.span_text(t.lease_left),
                        CASE WHEN t.wish IN ('standby', 'evict') THEN format(', told to stand by since %s', rota.instant_text(t.wished_at))
                             ELSE '' END) END,
       CASE t.kind
            WHEN 'stuck' THEN format('start a node, or `rota evict %s --wait 1m`', t.node)
            WHEN 'silent' THEN format('see whether it is stopped or cut off; `rota evict %s` takes its runs over', t.node)
            WHEN 'standby' THEN format('`rota resume-node %s` when it is to fire', t.node)
            WHEN 'good' THEN NULL ELSE 'the other nodes take its runs over by themselves' END
  FROM told t
UNION ALL
SELECT CASE WHEN w.waits THEN 'bad' ELSE 'warn' END, 'no_node', 'fleet', 'no node is running',
       'start one with `rota node`, or let one run with `rota resume-node`'
  FROM work w WHERE NOT EXISTS (SELECT FROM node n WHERE n.state = 'running' AND n.lease_left > interval '0')
UNION ALL
SELECT 'warn', 'versions', 'fleet', 'nodes of different versions: ' || string_agg(DISTINCT n.version, ', '),
       'finish the upgrade: what is new is done by the new ones alone'
  FROM node n WHERE n.lease_left > interval '0' HAVING count(DISTINCT n.version) > 1
UNION ALL
SELECT 'warn', 'worker_versions', 'fleet',
       format('workers of different versions serve %s: %s', string_agg(v.handler, ', ' ORDER BY v.handler), v.versions),
       'finish the upgrade of the workers: a run may go to any of them'
  FROM (SELECT s.handler, string_agg(s.version || ' on ' || s.nodes, '; ' ORDER BY s.version) AS versions
          FROM (SELECT h.key AS handler, w.version, string_agg(DISTINCT n.node, ', ') AS nodes
                  FROM node n CROSS JOIN LATERAL jsonb_each(n.versions) h
                       CROSS JOIN LATERAL jsonb_array_elements_text(CASE jsonb_typeof(h.value) WHEN 'array' THEN h.value ELSE '[]' END) AS w(version)
                 WHERE n.state = 'running' AND n.lease_left > interval '0'
                 GROUP BY h.key, w.version) s
         GROUP BY s.handler HAVING count(*) > 1) v
 GROUP BY v.versions
UNION ALL
SELECT 'warn', 'restart_delay', 'node ' || n.node,
       format('its restart_delay (%s) is shorter than its lease (%s): after a restart of PostgreSQL it may declare nodes dead that are coming back',
              rota.duration_text(n.restart_delay_ms * 1000), rota.duration_text(n.lease_ms * 1000)),
       'leave restart_delay unset: it is as long as the lease then'
  FROM node n WHERE n.restart_delay_ms < n.lease_ms
UNION ALL
SELECT 'warn', 'paused', 'fleet', 'all triggers and waiting runs are paused', '`rota resume all`'
  FROM rota.fleet f WHERE f.paused
