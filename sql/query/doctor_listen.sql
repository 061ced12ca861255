-- To hear what doctor_notify tells.
-- on: client
LISTEN "rota.doctor"
