# cluster.sh
#     A throw-away PostgreSQL cluster, for scripts that source this file.
#
# PostgreSQL refuses to run as root. A script started by root therefore picks
# an ordinary user (server_user), who cannot be expected to read the checkout:
# whatever the server or that user needs is copied to a work folder under
# $TMPDIR that everybody can read.
#
#     work=$(make_work_folder demo)
#     start_cluster "$work" "shared_preload_libraries = 'lat'"
#     as_server psql ...               # PGHOST, PGPORT, PGUSER are set
#     stop_cluster "$work"             # removes the folder too, unless KEEP=1

PG_CONFIG=${PG_CONFIG:-pg_config}

# The ordinary user that runs the server: oneself, unless that is root.
server_user() {
    if [ "$(id -u)" -ne 0 ]; then
        id -un
    elif id postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo nobody
    fi
}

# Run a command as that user.
as_server() {
    if [ "$(id -u)" -ne 0 ]; then
        "$@"
    elif command -v runuser >/dev/null; then
        runuser -u "$(server_user)" -- "$@"
    else
        setpriv --reuid="$(server_user)" --regid="$(id -gn "$(server_user)")" --clear-groups "$@"
    fi
}

# A new folder that the server's user owns. Its name is short: a socket's path has 107 bytes.
make_work_folder() {
    local work
    work=$(mktemp -d "${TMPDIR:-/tmp}/lat-$1.XXXXXX")
    chmod 755 "$work"
    chown "$(server_user)" "$work"
    echo "$work"
}

# initdb and start in $1/data, socket in $1; further arguments are lines of postgresql.conf.
start_cluster() {
    local work=$1 bindir
    shift
    bindir=$("$PG_CONFIG" --bindir)
    export PGHOST=$work PGPORT=54329 PGUSER=lat PGDATABASE=postgres
    export PSQLRC=/dev/null HOME=$work
    unset PGSERVICE PGPASSWORD PGOPTIONS PGDATA
    mkdir -p "$work"
    cd "$work"
    as_server "$bindir/initdb" --pgdata="$work/data" --username=lat --auth=trust \
        --encoding=UTF8 --locale=C --no-sync >"$work/initdb.log" 2>&1 || {
        cat "$work/initdb.log" >&2
        return 1
    }
    {
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '$work'"
        echo "port = $PGPORT"
        echo "fsync = off"
        echo "full_page_writes = off"
        printf '%s\n' "$@"
    } | as_server tee -a "$work/data/postgresql.conf" >/dev/null
    as_server "$bindir/pg_ctl" --pgdata="$work/data" --log="$work/server.log" --wait start \
        >"$work/start.log" 2>&1 || {
        cat "$work/start.log" "$work/server.log" >&2
        return 1
    }
}

# For a trap: stop the server and remove the folder, or with KEEP=1 say how to do so.
stop_cluster() {
    local work=$1 bindir prefix=
    bindir=$("$PG_CONFIG" --bindir)
    [ "$(id -u)" -eq 0 ] && prefix="runuser -u $(server_user) -- "
    cd /
    if [ "${KEEP:-}" = 1 ] && [ -f "$work/data/postmaster.pid" ]; then
        echo
        echo "The cluster is kept, in $work."
        echo "  connect:  psql -h $work -p $PGPORT -U $PGUSER $PGDATABASE"
        echo "  stop:     ${prefix}$bindir/pg_ctl -D $work/data stop && rm -rf $work"
        return
    fi
    if [ -f "$work/data/postmaster.pid" ]; then
        as_server "$bindir/pg_ctl" --pgdata="$work/data" --mode=immediate --wait stop \
            >/dev/null 2>&1 || true
    fi
    rm -rf "$work"
}

# Copy the server that PG_CONFIG names to a folder, so that tests install into the copy and leave
# the machine's own alone. PostgreSQL finds its files relative to its programs, as long as the
# folders lie to each other as they did. Sets PG_CONFIG to the copy's.
copy_postgres() {
    local target=$1 kind folder
    for kind in bindir pkglibdir sharedir; do
        folder=$("$PG_CONFIG" --$kind)
        mkdir -p "$target$folder"
        cp -a "$folder/." "$target$folder/"
    done
    for kind in includedir includedir-server; do
        folder=$("$PG_CONFIG" --$kind)
        mkdir -p "$(dirname "$target$folder")"
        [ -e "$target$folder" ] || ln -s "$folder" "$target$folder"
    done
    PG_CONFIG=$target$("$PG_CONFIG" --bindir)/pg_config
    export PG_CONFIG
}

# Copy what a build and the tests need from the checkout to a folder of the server's user.
copy_checkout() {
    local target=$1 entry entries=()
    for entry in Makefile lat.control sql src test expected models META.json; do
        [ -e "$entry" ] && entries+=("$entry")
    done
    mkdir -p "$target"
    tar --create --exclude='*.o' --exclude='*.so' --exclude=__pycache__ "${entries[@]}" |
        tar --extract --directory="$target" --no-same-owner
    chmod -R u+rwX,go+rX "$target"
    chown -R "$(server_user)" "$target"
}
