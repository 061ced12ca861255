-- Whether nodes serve a handler and have room. No row: they do, and nothing is due.
-- $1 handler: its name
-- $2 is_due: whether it could begin now
-- $3 due: since when; what is due since earlier is ahead
-- on: client
WITH node AS MATERIALIZED (
    SELECT s.node, s.state, s.slots, s.running, coalesce(s.versions -> $1::text, '[]') AS versions
      FROM rota.node_state s WHERE $1::text = ANY (s.handlers) AND s.state <> 'evicted' AND s.lease_until > clock_timestamp()
), sum AS (
    SELECT count(*) AS live, count(*) FILTER (WHERE n.state = 'running') AS running,
           count(*) FILTER (WHERE n.state = 'running' AND n.running < n.slots) AS with_room,
           string_agg(format('%s is %s', n.node, CASE n.state WHEN 'standby' THEN 'standing by' ELSE n.state END), ', '
                      ORDER BY n.node) FILTER (WHERE n.state <> 'running') AS others,
           string_agg(format('%s %s of %s', n.node, n.running, n.slots), ', ' ORDER BY n.node)
                      FILTER (WHERE n.state = 'running') AS taken,
           coalesce(json_agg(json_build_object('node', n.node, 'state', n.state, 'running', n.running, 'slots', n.slots,
                                              'versions', n.versions)
                             ORDER BY n.node), '[]') AS nodes
      FROM node n
), known AS (
    SELECT greatest((SELECT h.last_served_at FROM rota.handler h WHERE h.name = $1::text),
                    (SELECT max(i.renewed_at) FROM rota.incarnation i WHERE $1::text = ANY (i.handlers))) AS last_served_at,
           (SELECT string_agg(DISTINCT w.handler, ', ') FROM rota.incarnation i CROSS JOIN LATERAL unnest(i.handlers) AS w(handler)
             WHERE i.lease_until > clock_timestamp()) AS served,
           (SELECT count(*) FROM (SELECT FROM rota.route r JOIN rota.pending p ON p.route IN (r.id, -r.id)
                                   WHERE r.handler = $1::text AND p.held IS NULL AND p.due < $3::timestamptz LIMIT 10000) b)
           + (SELECT coalesce(sum(b.size - b.taken), 0)::bigint FROM rota.route r JOIN rota.bundle b ON b.route = r.id
               WHERE r.handler = $1::text AND b.due < $3::timestamptz) AS ahead
), found AS (
    SELECT s.nodes, k.last_served_at, k.served, k.ahead, s.others, s.taken,
           CASE WHEN s.live = 0 THEN 'unserved' WHEN s.running = 0 THEN 'not_running'
                WHEN $2::boolean AND s.with_room = 0 THEN 'no_slot' WHEN $2::boolean THEN 'soon' END AS reason
      FROM sum s CROSS JOIN known k
)
SELECT json_build_object('reason', f.reason, 'handler', $1::text, 'last_served_at', f.last_served_at, 'ahead', f.ahead,
                         'nodes', f.nodes)::text,
       CASE f.reason
            WHEN 'unserved' THEN format('no live node serves its handler "%s"%s', $1::text,
                                        coalesce(', since ' || rota.instant_text(f.last_served_at), ', and none ever did')
                                        || coalesce('; live nodes serve ' || f.served, '; no node lives'))
            WHEN 'not_running' THEN format('no node that serves its handler "%s" runs: %s', $1::text, f.others)
            WHEN 'no_slot' THEN format('all slots of the nodes that serve its handler "%s" are taken: %s; %s due before it',
                                       $1::text, f.taken, f.ahead)
            ELSE format('a node can take it (slots taken: %s; %s due before it): if it does not begin in a moment, '
                        'the slots of its handler "%s" are taken by other runs', f.taken, f.ahead, $1::text) END
  FROM found f WHERE f.reason IS NOT NULL
