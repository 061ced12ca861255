-- What nodes can run, and what a node must know when it starts.

-- Of each handler that is served, in which versions, as the workers say: {"report": ["1.4", "1.5"]}. Handlers
-- whose workers say no version are not in it; nodes older than this leave it empty.
ALTER TABLE rota.incarnation ADD COLUMN versions jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(versions) = 'object');

-- How long it keeps from declaring others dead after a restart of the server. NULL: a node that does not say.
ALTER TABLE rota.incarnation ADD COLUMN lease_ms bigint, ADD COLUMN restart_delay_ms bigint;

CREATE OR REPLACE VIEW rota.node_state AS
    SELECT i.node, i.id AS incarnation, CASE WHEN i.evicted_at IS NULL THEN i.state ELSE 'evicted' END AS state,
           i.started_at, i.renewed_at, i.lease_until, i.version, i.host, i.pid, i.handlers, i.slots, i.http,
           (SELECT coalesce(sum(bit_count(r.open)), 0)::bigint FROM rota.receipt r WHERE r.incarnation = i.id) AS running,
           n.wish, n.wished_at, i.evicted_at, i.versions
      FROM rota.incarnation i JOIN rota.node n ON n.name = i.node;

INSERT INTO rota.schema_version (version, name, needs) VALUES (5, '0005_capability', 1);
