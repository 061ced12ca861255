-- To hear of the end of a run that is watched.
-- on: client
LISTEN "rota.done"
