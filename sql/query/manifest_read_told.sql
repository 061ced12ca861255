-- Jobs that tell another of their failures, and those that are told, or are to be.
-- $1 names: of those that declared jobs tell
-- on: client
SELECT j.name, j.source, j.on_failure FROM rota.job j
 WHERE j.on_failure IS NOT NULL OR j.name = ANY ($1::text[])
    OR j.name = ANY (ARRAY(SELECT o.on_failure FROM rota.job o WHERE o.on_failure IS NOT NULL))
