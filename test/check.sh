#!/bin/bash
# check.sh
#     Every test: prepare, copy the checkout and the server to a work folder, and there, as an
#     ordinary user, build, unit tests, layers, fuzz targets, pg_regress under every kernel set
#     that the CPU has, TAP. Ends with one line, "N passed, N failed".
#
# Nothing outside the work folder changes but for what prepare.sh installs. KEEP=1 keeps it.
# STEPS="unit tap" runs these steps only (build, unit, layers, fuzz, regress, tap).
set -uo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=test/cluster.sh
. test/cluster.sh
# shellcheck source=test/tally.sh
. test/tally.sh

STEPS=${STEPS:-unit layers fuzz regress tap}

if [ "${1:-}" != --inside ]; then
    test/prepare.sh check || exit 1
    work=$(make_work_folder check) || exit 1
    cleanup() {
        cd /
        if [ "${KEEP:-}" = 1 ]; then
            echo "kept: $work"
        else
            rm -rf "$work"
        fi
    }
    trap cleanup EXIT
    trap 'exit 130' INT TERM
    copy_checkout "$work/tree" || exit 1
    # No `exec`: the trap must still remove the folder.
    HOME=$work as_server bash "$work/tree/test/check.sh" --inside "$work"
    exit
fi

work=$2
logs=$work/logs
mkdir -p "$logs"
unset MAKEFLAGS MAKELEVEL MFLAGS

run() { # LOG COMMAND...: output to the log, and to the screen if it fails
    local log=$1 status=0
    shift
    "$@" >"$log" 2>&1 </dev/null || status=$?
    [ $status -ne 0 ] && { grep -v '^gcc \|^clang ' "$log" | tail -n 60; }
    return $status
}

check_build() {
    begin "build and install, warnings are errors"
    copy_postgres "$work/pg"
    if run "$logs/build.log" make -j2 COPT=-Werror all &&
        run "$logs/install.log" make install; then
        count 1 0
    else
        count 0 1
        finish
        exit 1
    fi
}

check_unit() {
    local log
    begin "unit tests of the core"
    run "$logs/unit-plain.log" make -j2 unit-plain
    count_lines "$logs/unit-plain.log" $?
    begin "unit tests of the core, under AddressSanitizer and UndefinedBehaviorSanitizer"
    run "$logs/unit-sanitized.log" make -j2 unit-sanitized
    count_lines "$logs/unit-sanitized.log" $?
}

check_layers() {
    begin "layers of the core"
    run "$logs/layers.log" make -j2 lint-layers
    count_lines "$logs/layers.log" $?
}

check_fuzz() {
    begin "fuzz targets, briefly"
    if ! echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -x c -fsanitize=fuzzer,address -o "$work/fuzzer" - >/dev/null 2>&1; then
        skip "there is no clang with libFuzzer here"
        return
    fi
    run "$logs/fuzz.log" make -j2 fuzz
    local status=$?
    grep '^fuzz_' "$logs/fuzz.log" | sed 's/^/   /'
    count_lines "$logs/fuzz.log" $status
}

has_kernels() {
    "$("$PG_CONFIG" --bindir)/psql" -qAt -c "LOAD 'lat'" -c "SET lat.kernels = $1" \
        >"$logs/kernels-$1.log" 2>&1
}

check_regress() {
    local kernels tree=$PWD
    if ! (start_cluster "$work/regress" "shared_preload_libraries = 'lat'"); then
        begin "pg_regress"
        count 0 1
        return
    fi
    export PGHOST=$work/regress PGPORT=54329 PGUSER=lat PGDATABASE=postgres
    for kernels in scalar avx2 avx512 avx512_bf16 neon; do
        has_kernels $kernels || continue
        begin "pg_regress, lat.kernels = $kernels"
        cd "$tree"
        PGOPTIONS="-c lat.kernels=$kernels" run "$logs/regress-$kernels.log" make installcheck
        local status=$?
        [ $status -ne 0 ] && head -n 120 regression.diffs 2>/dev/null
        count_regress "$logs/regress-$kernels.log" $status
    done
    (KEEP='' stop_cluster "$work/regress")
    unset PGHOST PGPORT PGUSER PGDATABASE
    cd "$tree"
}

run_tap_file() { # one file, in a folder of its own
    local name bindir pgxs
    name=$(basename "$1" .pl)
    bindir=$("$PG_CONFIG" --bindir)
    pgxs=$(dirname "$(dirname "$("$PG_CONFIG" --pgxs)")")
    mkdir -p "$work/tap/$name/log"
    env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE \
        PERL5LIB="$pgxs/test/perl:$PWD/test/t" PATH="$bindir:$PATH" \
        PG_REGRESS="$pgxs/test/regress/pg_regress" \
        TESTDIR="$work/tap/$name" TESTDATADIR="$work/tap/$name/tmp_check" \
        TESTLOGDIR="$work/tap/$name/log" LAT_SOURCE="$PWD" \
        perl "$1" >"$logs/tap-$name.log" 2>&1
    echo $? >"$logs/tap-$name.status"
}

check_tap() {
    local file name
    begin "TAP tests"
    for file in ${TAP:-test/t/*.pl}; do
        run_tap_file "$file" &
        while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
            wait -n
        done
    done
    wait
    for file in ${TAP:-test/t/*.pl}; do
        name=$(basename "$file" .pl)
        begin "$name"
        sed -n 's/^# measured: /   /p; /^not ok/p; /^#   /p' "$logs/tap-$name.log" | grep -v "=>" | head -n 40
        if [ "$(cat "$logs/tap-$name.status")" -ne 0 ]; then
            grep -hE '^error running|ERROR:|FATAL:|PANIC:' "$work/tap/$name"/*/log/regress_log_* \
                "$work/tap/$name"/log/regress_log_* 2>/dev/null | tail -n 10
        fi
        count_tap "$logs/tap-$name.log" "$(cat "$logs/tap-$name.status")"
    done
}

check_build
for step in $STEPS; do
    "check_$step"
done
finish
