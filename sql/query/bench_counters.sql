-- What the server has done so far: bytes of WAL, statements of this role that name the bench's schema
-- (NULL where pg_stat_statements is not loaded or not created in this database), transactions of the
-- database. Statements of the bench itself carry its mark and do not count. The extension may be in any
-- schema, or nowhere, so its view is named at run time.
-- $1 schema: of the bench
-- on: client
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
       CASE WHEN current_setting('pg_stat_statements.max', true) IS NOT NULL
            THEN (SELECT substring(query_to_xml(format(
                         'SELECT coalesce(sum(s.calls), 0)::bigint AS calls FROM %I.pg_stat_statements s'
                         ' WHERE s.dbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())'
                         ' AND s.userid = (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user)'
                         ' AND position(%L IN s.query) > 0 AND position(%L IN s.query) = 0',
                         n.nspname, $1::text || '.', '/*' || ' bench */'), true, false, '')::text FROM '<calls>(\d+)</calls>')::bigint
                    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                   WHERE e.extname = 'pg_stat_statements') END,
       (SELECT d.xact_commit + d.xact_rollback FROM pg_stat_database d WHERE d.datname = current_database()),
       clock_timestamp()
