-- What time it is for the database.
-- on: client
SELECT clock_timestamp()
