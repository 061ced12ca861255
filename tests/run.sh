#!/bin/sh
# Builds and tests everything: sh tests/run.sh [--full] [WORD…]
#   --full  also: sanitizers over the whole suite, valgrind on the unit tests, clang, long campaigns
#   WORD…   only tests whose name contains one of the words (`pytest -k` understands more)
# Installs missing packages, starts a PostgreSQL of its own and ends with the line
# "N passed, N failed". Nothing it started goes on after it.
set -u

cd "$(dirname "$0")/.." || exit
root=$PWD
. deploy/packages.sh
. tests/lib/postgres.sh

full=
words=
for argument; do
    case $argument in
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --full) full=yes ;;
    -*) die "tests/run.sh: unknown option $argument: --full is the only one" ;;
    *) words="$words${words:+ or }$argument" ;;
    esac
done

work=
child=
passed=0
failed=0
skipped=0

# Runs a command so that a signal to this script ends it at once: in the background, where a shell
# would have it ignore Ctrl-C, which env takes back.
run_child() {
    env --default-signal=INT,QUIT "$@" &
    child=$!
    wait "$child"
    status=$?
    child=
    return $status
}

finish() {
    trap - EXIT INT TERM HUP
    if [ -n "$child" ]; then
        kill -INT "$child" 2>/dev/null # pytest cleans up after this one only
        wait "$child" 2>/dev/null
    fi
    postgres_stop
    [ -n "$work" ] && rm -rf "$work"
    [ "$skipped" -eq 0 ] || say "$skipped skipped"
    [ "$passed" -gt 0 ] || [ "$failed" -gt 0 ] || failed=1 # nothing ran: that is no success
    say "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}
trap finish EXIT
trap 'failed=$((failed + 1)); exit 1' INT TERM HUP

# fail WHAT: something beside the tests themselves went wrong
fail() {
    say "FAILED: $*"
    failed=$((failed + 1))
}

# count FILE…: adds JUnit files to the totals
count() {
    set -- $(/usr/bin/python3 tests/lib/count.py "$@")
    passed=$((passed + $1))
    failed=$((failed + $2))
    skipped=$((skipped + $3))
}

# build DIR MESON-ARGUMENTS…
build() {
    directory=$1
    shift
    say "== build $directory $*"
    if [ ! -f "$directory/build.ninja" ]; then
        run_child meson setup "$directory" -Dwerror=true "$@" >"$work/setup.log" 2>&1 || {
            cat "$work/setup.log"
            return 1
        }
    fi
    run_child ninja -C "$directory" >"$work/ninja.log" 2>&1 || {
        cat "$work/ninja.log"
        return 1
    }
}

# The unit tests that the words select, all without words.
unit_names() {
    names=$(meson test -C "$1" --list 2>/dev/null | sed 's/.* \/ //; s/^.*:unit *//')
    [ -z "$words" ] && printf '%s\n' "$names" && return
    for word in $(printf '%s' "$words" | sed 's/ or / /g'); do
        printf '%s\n' "$names" | grep -i -e "$word"
    done | sort -u
}

# unit DIR MESON-ARGUMENTS…
unit() {
    directory=$1
    shift
    names=$(unit_names "$directory")
    [ -n "$names" ] || return 0
    say "== unit tests $directory $*"
    rm -f "$directory/meson-logs/testlog.junit.xml"
    run_child meson test -C "$directory" --no-rebuild --print-errorlogs "$@" $names
    status=$?
    logs=$(ls "$directory"/meson-logs/testlog*.junit.xml 2>/dev/null)
    before=$failed
    count ${logs:-"$directory/meson-logs/testlog.junit.xml"}
    rm -f $logs
    [ $status -eq 0 ] || [ $failed -gt $before ] || fail "meson test, status $status"
}

# python FOLDER: the pytest tests of a folder
python() {
    run_child timeout -k 60 "$limit_s" /usr/bin/python3 -m pytest -q -p no:cacheprovider \
        --junitxml="$work/pytest.xml" ${words:+-k "$words"} "$1"
    status=$?
    [ $status -ne 5 ] || return 0 # no test has such a name
    before=$failed
    count "$work/pytest.xml"
    [ $status -eq 0 ] || [ $failed -gt $before ] || fail "pytest $1, status $status"
    rm -f "$work/pytest.xml"
}

# nodes DIR: several files at a time, as tests of nodes wait more than they compute
nodes() {
    say "== integration tests and chaos $1"
    export ROTA_BINARY="$root/$1/cmd/rota"
    rm -rf "$work/results" && mkdir "$work/results"
    run_child timeout -k 60 "$limit_s" /usr/bin/python3 tests/lib/side_by_side.py \
        tests/integration:tests/chaos "$work/results" "$side_by_side" ${words:+-k "$words"}
    status=$?
    [ $status -ne 5 ] || return 0
    before=$failed
    count "$work"/results/*.xml
    [ $status -eq 0 ] || [ $failed -gt $before ] || fail "integration tests, status $status"
}

# How fast it is beside the yardstick, and the peers where they are at hand: for information, no figure decides
bench_rows() {
    [ -z "$words" ] || return 0
    say "== rota beside the yardstick (information)"
    run_child timeout -k 30 300 /usr/bin/python3 tests/bench/compare.py drain enqueue latency idle --quick --lines \
        --rota "$root/build-test/cmd/rota" --work "$work/bench" || say "bench: not everything could be measured"
}

packages_install $packages_build $packages_run $packages_test ${full:+$packages_full}
trap finish EXIT # packages_install has its own
trap 'failed=$((failed + 1)); exit 1' INT TERM HUP

work=$(mktemp -d "${TMPDIR:-/tmp}/rota-tests-XXXXXX") || exit
chmod 711 "$work"
export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
limit_s=2400 # of the integration tests, which take a quarter of it on a quiet machine
side_by_side=4
[ -z "$full" ] || { export ROTA_TEST_FULL=1 && limit_s=5400 && side_by_side=2; }

build build-test || { fail "the build"; exit; }
mkdir "$work/postgres" && chmod 700 "$work/postgres"
postgres_start "$work/postgres" || { fail "PostgreSQL does not start"; exit; }
unit build-test
say "== hygiene"
python tests/hygiene
say "== model of the protocol"
python tests/model
nodes build-test
bench_rows

if [ -n "$full" ]; then
    sh tests/fuzz/run.sh 20 json cron protocol manifest tzif settings handlers && sh tests/fuzz/run.sh 60 query http ||
        fail "a parser, by its fuzzer"
    if [ -z "$words" ]; then # random schedules that no earlier run has seen
        export ROTA_TEST_SEED="$(date +%s)" ROTA_TEST_ROUNDS=10
        words=reference
        unit build-test --timeout-multiplier 10
        unset ROTA_TEST_SEED ROTA_TEST_ROUNDS
        words=
    fi
    if build build-asan -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debug; then
        unit build-asan
        export ROTA_TEST_SANITIZED=1 # slower by far: for tests that measure
        nodes build-asan
        unset ROTA_TEST_SANITIZED
    else
        fail "the build with sanitizers"
    fi
    unit build-test --timeout-multiplier 20 \
        --wrap "valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite"
    if CC=clang build build-clang; then
        unit build-clang
    else
        fail "the build with clang"
    fi
fi
