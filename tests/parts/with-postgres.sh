#!/bin/bash
# with-postgres.sh CMD...: runs CMD with a Postgres server of its own, which is gone afterwards.
# Sets WAYLEAVE_TEST_POSTGRES (URL of a superuser) and WAYLEAVE_TEST_POSTGRES_CTL (a script that takes stop or start).
set -euo pipefail
# Debian's, or the one that setup.sh unpacked and with-parts.sh names.
programs=$(find /usr/lib/postgresql ${WAYLEAVE_TEST_POSTGRES_HOME:+"$WAYLEAVE_TEST_POSTGRES_HOME"} -path '*/bin/initdb' -printf '%h\n' 2>/dev/null | sort -V | tail -1 || true)
[[ -n $programs ]] || { echo "with-postgres.sh: PostgreSQL's server is not installed" >&2; exit 1; }
home=$(mktemp -d "${TMPDIR:-/tmp}/wayleave-postgres.XXXXXX")
chmod 755 "$home"
run=""
if [[ $EUID -eq 0 ]]; then # initdb refuses root
  chown postgres "$home"
  run="runuser -u postgres --"
fi
# Below those that the system gives to connections: nobody takes it while the server is stopped.
port=$(python3 - <<'PORT'
import random, socket
while True:
    port = random.randrange(28000, 32000)
    with socket.socket() as attempt:
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break
PORT
)
cat > "$home/ctl" <<CTL
#!/bin/bash
set -euo pipefail
cd "$home"
case \$1 in
  start) $run "$programs/pg_ctl" -D "$home/data" -s -w -l "$home/server.log" \\
    -o "-p $port -k $home -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=300" start ;;
  stop) $run "$programs/pg_ctl" -D "$home/data" -s -m immediate stop ;;
esac
CTL
chmod 755 "$home/ctl"
trap '"$home/ctl" stop 2> /dev/null || true; rm -rf "$home"' EXIT
(cd "$home" && $run "$programs/initdb" -D data -U postgres -A trust -E UTF8 --no-locale --no-sync > initdb.log) || { cat "$home/initdb.log"; exit 1; }
"$home/ctl" start > /dev/null
export WAYLEAVE_TEST_POSTGRES="postgres://postgres@127.0.0.1:$port/postgres"
export WAYLEAVE_TEST_POSTGRES_CTL="$home/ctl"
"$@"
