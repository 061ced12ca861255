-- Names that may be meant by one that does not exist: those of about its length.
-- $1 noun: trigger or job
-- $2 name: what was asked for
-- on: client
SELECT ARRAY(SELECT n.name
               FROM (SELECT t.name FROM rota.trigger t WHERE $1::text = 'trigger'
                     UNION ALL
                     SELECT j.name FROM rota.job j WHERE $1::text = 'job') n
              WHERE abs(length(n.name) - length($2::text)) <= 3
              ORDER BY n.name LIMIT 5000)
