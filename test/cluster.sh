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
