-- Names that may be meant by one that does not exist: those of about its length.
-- $1 noun: trigger, job or node
-- $2 name: what was asked for
-- on: client
SELECT ARRAY(SELECT n.name
               FROM (SELECT t.name FROM rota.trigger t WHERE $1::text = 'trigger'
                     UNION ALL
                     SELECT j.name FROM rota.job j WHERE $1::text = 'job'
                     UNION ALL
                     SELECT d.name FROM rota.node d WHERE $1::text = 'node') n
              WHERE abs(length(n.name) - length($2::text)) <= 3
              ORDER BY n.name LIMIT 5000)
