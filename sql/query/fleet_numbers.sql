-- Numbers about the whole fleet, for /metrics: rows of name, two labels and a number; how old the reading is and
-- how long it took, in microseconds. Made anew once for all nodes: rota.fleet_numbers().
-- $1 fresh_ms: a reading is good for so long
-- on: client
SELECT r.n ->> 0, r.n ->> 1, r.n ->> 2, (r.n ->> 3)::bigint,
       (extract(epoch FROM clock_timestamp() - f.at) * 1000000)::bigint, (extract(epoch FROM f.took) * 1000000)::bigint
  FROM rota.fleet_numbers($1::bigint * interval '1 ms') f CROSS JOIN LATERAL jsonb_array_elements(f.numbers) AS r(n)
