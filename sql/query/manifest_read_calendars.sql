-- All calendars of the fleet.
-- on: client
SELECT c.name, c.source, c.base, c.definition FROM rota.calendar c
