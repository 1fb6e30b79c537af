#!/bin/bash
# demo.sh
#     From nothing to answers: install what is missing, build, install, start a throw-away cluster,
#     and run demo.sql over the texts beside it.
#
# KEEP=1 leaves the cluster running and says how to connect.
set -euo pipefail

cd "$(dirname "$0")/../.."
# shellcheck source=test/cluster.sh
. test/cluster.sh

# Install where PostgreSQL looks, with sudo only if these folders are not ours to write.
install_extension() {
    local folder
    for folder in --pkglibdir --sharedir; do
        if [ ! -w "$("$PG_CONFIG" $folder)" ]; then
            sudo make --no-print-directory PG_CONFIG="$PG_CONFIG" install
            return
        fi
    done
    make --no-print-directory install
}

quietly() { # TITLE COMMAND...: the output only if it fails
    local title=$1 log
    shift
    echo "-- $title"
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        exit 1
    fi
    rm -f "$log"
}

unset MAKEFLAGS MAKELEVEL MFLAGS
echo "-- preparing"
test/prepare.sh build
quietly "building" make -j2 all
quietly "installing into $("$PG_CONFIG" --pkglibdir)" install_extension

work=$(make_work_folder demo)
trap 'stop_cluster "$work"' EXIT
trap 'exit 130' INT TERM
cp test/demo/demo.sql test/demo/*.tsv "$work"
chmod a+r "$work"/*
echo "-- starting a cluster in $work, as user $(server_user)"
start_cluster "$work" "shared_preload_libraries = 'lat'"

psql="$("$PG_CONFIG" --bindir)/psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --pset=pager=off"
as_server $psql <"$work/demo.sql"

if [ "${KEEP:-}" != 1 ]; then
    echo
    echo "Done. The cluster is stopped and removed; to keep it: make demo KEEP=1"
fi
