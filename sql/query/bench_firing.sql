-- Whether a trigger has occurrences to come.
-- on: client
SELECT /* bench */ EXISTS (SELECT FROM rota.trigger_due d WHERE d.state <> 'C')
