#!/bin/bash
# run_in_cluster.sh
#     Run benchmarks against lat in a throw-away cluster: copy the server and the checkout, build,
#     install into the copy, start, then each script in turn.
#
#         test/bench/run_in_cluster.sh bench_sql.py "bench_load.py --quick"
#
# The machine's own PostgreSQL stays as it is. PL/Python and its packages come from build/peers
# (peers.sh). Scripts run as oneself, with PGHOST, PGPORT, PG_CONFIG and BENCH_WORK, a folder that
# the server can read.
set -euo pipefail

cd "$(dirname "$0")/../.."
root=$PWD
home=$HOME
python=$(python3 -c 'import sys; print(sys.executable)')
# shellcheck source=test/cluster.sh
. test/cluster.sh
unset MAKEFLAGS MAKELEVEL MFLAGS

work=$(make_work_folder bench)
trap 'stop_cluster "$work"' EXIT
trap 'exit 130' INT TERM
copy_postgres "$work/pg"
[ -d build/peers/server ] && cp -a build/peers/server/. "$work/pg/"
[ -d build/peers/python ] && cp -a build/peers/python build/peers/onnx "$work/"
copy_checkout "$work/tree"
(cd "$work/tree" && make -j2 all && make install) >"$work/build.log" 2>&1 </dev/null || {
    tail -n 40 "$work/build.log" >&2
    exit 1
}
chmod -R a+rX "$work"
start_cluster "$work" "shared_preload_libraries = 'lat'" "autovacuum = off" "shared_buffers = 256MB"
cd "$root"
status=0
for script in "$@"; do
    # shellcheck disable=SC2086
    HOME=$home BENCH_WORK=$work PYTHONPATH=$root/test/bench \
        "$python" "$root/test/bench/"$script || status=1
done
exit $status
