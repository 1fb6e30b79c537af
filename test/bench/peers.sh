#!/bin/bash
# peers.sh
#     Fetch what the benchmarks compare lat with, into build/peers. By hand; nothing is installed.
#
#         test/bench/peers.sh          # needs apt-get, python3 with pip, and ../shared/models
#
#     server/   PL/Python for the PostgreSQL that pg_config names (Debian's package, unpacked)
#     python/   onnxruntime, tokenizers, numpy for the Python that PL/Python embeds
#     onnx/     the sst2 checkpoint exported to ONNX, in fp32 and in dynamic int8
#
# The export needs torch, transformers, onnx and onnxruntime in one's own Python.
set -euo pipefail

cd "$(dirname "$0")/../.."
root=$PWD
peers=$root/build/peers
PG_CONFIG=${PG_CONFIG:-pg_config}
checkpoint=${CHECKPOINT:-../shared/models/sst2-lengthdrop}
major=$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')

mkdir -p "$peers/server" "$peers/onnx"
if [ ! -e "$peers/server/usr/lib/postgresql/$major/lib/plpython3.so" ]; then
    package=$(mktemp -d)
    trap 'rm -rf "$package"' EXIT
    (cd "$package" && apt-get -q download "postgresql-plpython3-$major")
    dpkg -x "$package"/*.deb "$peers/server"
fi

# The wheels must fit the Python that plpython3.so is linked with, not the one on the PATH.
embedded=$(ldd "$peers/server/usr/lib/postgresql/$major/lib/plpython3.so" |
    sed -n 's/.*libpython\(3\.[0-9]*\).*/\1/p' | head -n 1)
if [ ! -d "$peers/python/onnxruntime" ]; then
    python3 -m pip install --quiet --target "$peers/python" --python-version "$embedded" \
        --only-binary=:all: onnxruntime tokenizers numpy
fi

if [ ! -e "$peers/onnx/int8.onnx" ]; then
    python3 "$root/test/bench/export_onnx.py" "$checkpoint" "$peers/onnx"
fi
du -sh "$peers"/*
