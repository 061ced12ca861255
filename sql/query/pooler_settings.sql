-- Settings for the length of this transaction, where those of the session are not ours. Columns are not read.
-- $1 names: of the settings
-- $2 settings: their values
-- on: client
SELECT count(set_config(s.name, s.setting, true))
  FROM unnest($1::text[], $2::text[]) AS s(name, setting)
