#!/bin/sh
# Fuzzes the parsers with libFuzzer, ASan and UBSan: sh tests/fuzz/run.sh [SECONDS [NAME…]]
#   SECONDS  for each parser, 60 if not given; 0: only the seeds
#   NAME…    json cron protocol manifest tzif settings handlers query http; all if not given
# Builds with clang directly, below build-fuzz/. What was found stays there, as crash-… files: give one
# to the program (build-fuzz/fuzz_json crash-…) to see it again.
set -eu

cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- json cron protocol manifest tzif settings handlers query http
build=${FUZZ_BUILD:-build-fuzz}
compiler=$(command -v clang-14 || command -v clang) || {
    echo "tests/fuzz/run.sh: no clang: install clang and libclang-rt-14-dev" >&2
    exit 1
}

# Everything of the program under test, by name of the fuzzer.
sources() {
    case $1 in
    json) ;;
    cron | tzif) ls coord/schedule/*.c ;;
    manifest) ls coord/manifest*.c coord/schedule/*.c ;;
    protocol) echo worker/protocol.c ;;
    handlers)
        ls worker/builtin/http_headers.c worker/builtin/http_request.c worker/builtin/http_target.c \
            worker/builtin/secret.c worker/builtin/sql_request.c worker/builtin/template.c \
            worker/builtin/exec_allow.c worker/builtin/exec_request.c worker/spawn.c ;;
    query) echo coord/http/query.c ;;
    http) ls coord/*.c coord/http/*.c coord/schedule/*.c store/*.c worker/*.c; echo "$build/sql/statements.c" ;;
    settings) ls cmd/settings*.c cmd/data_directory.c cmd/account.c worker/*.c worker/builtin/*.c ;;
    *)
        echo "tests/fuzz/run.sh: there is no fuzzer \"$1\": json cron protocol manifest tzif settings handlers query http" >&2
        exit 2
        ;;
    esac
}

# The texts of sql/, as the build makes them.
mkdir -p "$build/sql"
for kind in header:h source:c; do
    python3 sql/embed.py "${kind%:*}" "$build/sql/statements.${kind#*:}" sql/query/*.sql sql/schema/*.sql
done

failed=0
for name; do
    files=$(sources "$name")
    mkdir -p "$build/corpus/$name"
    "$compiler" -std=gnu11 -D_GNU_SOURCE -DROTA_VERSION='"fuzz"' -I. -I"$build" -I"$(pg_config --includedir)" -Wall -Wextra -Wno-missing-field-initializers \
        -g -O1 -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
        tests/fuzz/fuzz_"$name".c base/*.c $files -lm -lcurl -lssl -lcrypto -levent -levent_openssl -lz -lpthread -lpq -o "$build/fuzz_$name"
    dictionary=
    [ ! -f "tests/fuzz/$name.dict" ] || dictionary=-dict=tests/fuzz/$name.dict
    echo "== $name"
    if [ "$seconds" -eq 0 ]; then
        set +e
        "$build/fuzz_$name" -runs=0 "tests/fuzz/corpus/$name" >"$build/$name.log" 2>&1
    else
        set +e
        "$build/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=20000 -print_final_stats=1 \
            $dictionary -artifact_prefix="$build/$name-" "$build/corpus/$name" "tests/fuzz/corpus/$name" >"$build/$name.log" 2>&1
    fi
    status=$?
    set -e
    grep -E '^(Done|stat::number_of_executed_units|SUMMARY)' "$build/$name.log" || true
    if [ $status -ne 0 ]; then
        failed=$((failed + 1))
        tail -n 40 "$build/$name.log"
    fi
done
echo "$(($# - failed)) passed, $failed failed"
[ $failed -eq 0 ]
