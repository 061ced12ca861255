-- Calendars that are declared no more. Who uses one keeps it from going, at the end of the transaction.
-- $1 names: of the calendars
-- on: client
DELETE FROM rota.calendar c WHERE c.name = ANY ($1::text[])
