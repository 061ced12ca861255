-- Events after an id, oldest first; the first columns are of every row, and of one row where there is no event:
-- the newest id that is not kept any more, and the newest of all.
-- $1 after: the last id that was read
-- $2 rows: at most
-- on: client
SELECT r.forgotten, coalesce((SELECT max(m.id) FROM rota.event m), r.forgotten), e.id, e.at, e.node, e.body
  FROM rota.event_ring r LEFT JOIN LATERAL (
       SELECT v.id, v.at, v.node, v.body FROM rota.event v WHERE v.id > $1::bigint ORDER BY v.id LIMIT $2::bigint) e ON true
 ORDER BY e.id
