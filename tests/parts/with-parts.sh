#!/usr/bin/env bash
# Runs a command with the real peers at hand: with-parts.sh CMD... (after setup.sh). PostgreSQL runs for as long as the command does;
# the tests start the other peers themselves, from the places named in the environment.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
parts=${WAYLEAVE_PARTS:-$here/../../target/parts}
parts=$(cd "$parts" && pwd)
root=$parts/debian

# A tool of the system, or the one unpacked below target/parts.
tool() {
  local name=$1 found
  shift
  for found in "$@"; do [[ -x $found ]] && { echo "$found"; return; }; done
  command -v "$name" || { echo "$name is not installed; run tests/parts/setup.sh" >&2; exit 1; }
}

WAYLEAVE_TEST_ENVOY=$(ls "$parts"/python/lib/python3*/site-packages/envoy/_bin/envoy)
WAYLEAVE_TEST_PYTHON=$parts/python/bin/python
WAYLEAVE_TEST_CHROMIUM=$(tool chromium /usr/bin/chromium "$root/usr/lib/chromium/chromium")
WAYLEAVE_TEST_NGINX=$(tool nginx /usr/sbin/nginx "$root/usr/sbin/nginx")
WAYLEAVE_TEST_KUBECTL=$(tool kubectl /usr/bin/kubectl "$parts/kubectl")
WAYLEAVE_TEST_SSHD=$(tool sshd /usr/sbin/sshd "$root/usr/sbin/sshd")
WAYLEAVE_TEST_PARTS=$here
export WAYLEAVE_TEST_ENVOY WAYLEAVE_TEST_PYTHON WAYLEAVE_TEST_CHROMIUM WAYLEAVE_TEST_NGINX WAYLEAVE_TEST_KUBECTL WAYLEAVE_TEST_SSHD WAYLEAVE_TEST_PARTS
if [[ -d $root ]]; then
  export PATH=$PATH:$root/usr/bin:$root/usr/sbin
  # Only the unpacked programs need these; everything else finds the same libraries in their usual places.
  libraries=$(echo "$root"/usr/lib/*-linux-gnu)
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries:$libraries/nss
  export WAYLEAVE_TEST_POSTGRES_HOME=$root/usr/lib/postgresql
fi
exec "$here/with-postgres.sh" "$@"
