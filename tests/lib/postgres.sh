# A PostgreSQL for the tests alone: private directory, unprivileged user, port chosen by the kernel.
# Sourced by tests/run.sh. Ends with the shell that started it, even if that is killed (pdeathsig).
# shellcheck shell=sh

postgres_bindir() {
    for bindir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V -r); do
        [ -x "$bindir/initdb" ] && printf '%s' "$bindir" && return
    done
    command -v pg_config >/dev/null && pg_config --bindir
}

# Runs a command as the user PostgreSQL may run as; never through another process.
postgres_exec() {
    if [ "$(id -u)" -eq 0 ]; then
        exec setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig INT -- "$@"
    else
        exec setpriv --pdeathsig INT -- "$@"
    fi
}

free_port() {
    /usr/bin/python3 -c 'import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])'
}

# postgres_start DIR: sets postgres_pid and ROTA_TEST_DATABASE_URL, ROTA_TEST_PG_BIN.
postgres_start() {
    postgres_dir=$1
    ROTA_TEST_PG_BIN=$(postgres_bindir)
    [ "$(id -u)" -eq 0 ] && chown postgres "$postgres_dir"
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    printf '%s' "$password" >"$postgres_dir/password"
    chmod 644 "$postgres_dir/password" # the directory is PostgreSQL's alone
    (cd "$postgres_dir" && postgres_exec "$ROTA_TEST_PG_BIN/initdb" -D "$postgres_dir/data" \
        -U rota_test --pwfile="$postgres_dir/password" -A scram-sha-256 -E UTF8 --no-locale -N) \
        >"$postgres_dir/initdb.log" 2>&1 || {
        cat "$postgres_dir/initdb.log" >&2
        return 1
    }
    for attempt in 1 2 3; do # another process may take the port meanwhile
        port=$(free_port)
        # fsync off: a crash of the machine loses test data, which is no loss
        (cd "$postgres_dir" && postgres_exec "$ROTA_TEST_PG_BIN/postgres" -D "$postgres_dir/data" \
            -c listen_addresses=127.0.0.1 -c port="$port" \
            -c unix_socket_directories="$postgres_dir" -c max_connections=300 -c fsync=off \
            -c max_prepared_transactions=10) >"$postgres_dir/postgres.log" 2>&1 &
        postgres_pid=$!
        if postgres_wait "$port"; then
            ROTA_TEST_DATABASE_URL="postgresql://rota_test:$password@127.0.0.1:$port/postgres"
            export ROTA_TEST_DATABASE_URL ROTA_TEST_PG_BIN
            return 0
        fi
        postgres_stop
    done
    cat "$postgres_dir/postgres.log" >&2
    return 1
}

# Until it answers; pg_isready asks without a password.
postgres_wait() {
    for attempt in $(seq 300); do
        "$ROTA_TEST_PG_BIN/pg_isready" -q -h 127.0.0.1 -p "$1" -t 1 && return 0
        kill -0 "$postgres_pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

postgres_stop() {
    [ -n "${postgres_pid:-}" ] || return 0
    kill -INT "$postgres_pid" 2>/dev/null || true
    wait "$postgres_pid" 2>/dev/null || true
    postgres_pid=
}
