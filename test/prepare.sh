#!/bin/bash
# prepare.sh WHAT
#     Install what is missing, and nothing else, with Debian's apt.
#
# WHAT is build (compiler, PostgreSQL with its server headers, utf8proc), check (build, and what
# the tests use), versions (check, and pip) or lint (check, and the linters).
# Where everything is there already it neither calls apt nor asks for a password.
set -euo pipefail

what=${1:-build}
PG_CONFIG=${PG_CONFIG:-pg_config}
missing=()

has() {
    command -v "$1" >/dev/null 2>&1
}

need() { # PACKAGE COMMAND...: the package is missing unless the command succeeds
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has_compiler() {
    has make && echo 'int main(void) { return 0; }' | cc -x c -o /dev/null -
}

has_server() {
    has "$PG_CONFIG" && [ -x "$("$PG_CONFIG" --bindir)/initdb" ]
}

has_server_headers() {
    has "$PG_CONFIG" && [ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ] &&
        [ -f "$("$PG_CONFIG" --pgxs)" ]
}

has_utf8proc() {
    echo '#include <utf8proc.h>' | cc -E -
}

# The version whose headers fit: that of the server installed, or the one apt would install.
server_version() {
    local version
    version=$(ls /usr/lib/postgresql 2>/dev/null | sort -n | tail -n 1)
    if [ -z "$version" ]; then
        version=$(apt-cache depends postgresql 2>/dev/null |
            sed -n 's/.*Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1)
    fi
    echo "$version"
}

# The fuzz targets need clang's own runtime. Where it cannot be had they are skipped.
has_fuzzer() {
    echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -x c -fsanitize=fuzzer,address -o /dev/null -
}

find_missing() {
    missing=()
    need build-essential has_compiler
    need libutf8proc-dev has_utf8proc
    need postgresql has_server
    need postgresql-server-dev has_server_headers
    [ "$what" = build ] && return
    need perl has prove
    need libipc-run-perl perl -MIPC::Run -e 1
    need binutils has nm
    case $what in
        versions) need python3-pip python3 -m pip --version ;;
        lint)
            need cppcheck has cppcheck
            need clang-tidy has clang-tidy
            ;;
    esac
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

apt() { # quiet unless it fails
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" >"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        echo "prepare: apt-get $* failed" >&2
        return 1
    }
}

find_missing
fuzzer=yes
[ "$what" != build ] && ! has_fuzzer >/dev/null 2>&1 && fuzzer=missing
[ ${#missing[@]} -eq 0 ] && [ $fuzzer = yes ] && exit 0

if ! has apt-get; then
    [ ${#missing[@]} -eq 0 ] && exit 0
    echo "prepare: missing: ${missing[*]} (names of Debian packages)" >&2
    echo "prepare: there is no apt-get here; please install them by hand" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ] && ! has sudo; then
    [ ${#missing[@]} -eq 0 ] && exit 0
    echo "prepare: missing: ${missing[*]}; run as root, or install sudo" >&2
    exit 1
fi

apt update
if [ $fuzzer = missing ]; then
    echo "prepare: installing clang libclang-rt-dev"
    apt install --no-install-recommends clang libclang-rt-dev || true
fi
[ ${#missing[@]} -eq 0 ] && exit 0

for i in "${!missing[@]}"; do
    if [ "${missing[i]}" = postgresql-server-dev ]; then
        missing[i]=postgresql-server-dev-$(server_version)
    fi
done
echo "prepare: installing ${missing[*]}"
apt install --no-install-recommends "${missing[@]}"

find_missing
if [ ${#missing[@]} -gt 0 ]; then
    echo "prepare: still missing after apt-get install: ${missing[*]}" >&2
    exit 1
fi
