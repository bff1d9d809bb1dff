#!/bin/sh
# Install the release in this folder, without a network: sh install.sh [--prefix FOLDER] [--python PROGRAM]
#                                                                     [--service coordinator|hospital]
# It goes to PREFIX-VERSION, and PREFIX (/opt/fedcxr unless named) leads there. An upgrade is the same command in the
# next release's folder; to go back, let PREFIX lead to the older one again. State is never touched.
# --service also makes the account `fedcxr` and puts the systemd unit in place; it is not started.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
prefix=/opt/fedcxr python=python3 service=

stop() {
  echo "error: $1" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || stop "$1 needs a value"
  case $1 in
    --prefix) prefix=$2 ;;
    --python) python=$2 ;;
    --service) service=$2 ;;
    *) stop "no such option: $1" ;;
  esac
  shift 2
done
case $service in "" | coordinator | hospital) ;; *) stop "--service takes coordinator or hospital" ;; esac
[ -z "$service" ] || [ "$(id -u)" = 0 ] || stop "only root can put a service in place"

cd "$here"
sha256sum --check --quiet --strict SHA256SUMS || stop "this folder is not what was bundled: unpack the file again, and compare its SHA-256"
version=$(cat VERSION)
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  || stop "$python is not Python 3.11 or newer with venv (Debian: python3-venv): install it, or name another with --python"

target=$prefix-$version
if [ ! -e "$target/.complete" ]; then
  rm -rf "$target"
  "$python" -m venv "$target"
  "$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links wheels "fedcxr[bucket]==$version" \
    || stop "the wheels in this folder do not fit $python: name the Python that they were made for with --python"
  mkdir -p "$target/share/doc"
  cp docs/* sbom.json "$target/share/doc/"
  touch "$target/.complete"
fi
if [ -e "$prefix" ] && [ ! -L "$prefix" ]; then
  stop "$prefix is a folder of its own: move it aside, then type the same again"
fi
ln -sfn "$(basename "$target")" "$prefix.next"
mv -T "$prefix.next" "$prefix"
echo "fedcxr $version is installed: $prefix/bin/fedcxr"

if [ -n "$service" ]; then
  getent passwd fedcxr >/dev/null || useradd --system --user-group --no-create-home --home-dir /var/lib/fedcxr --shell /usr/sbin/nologin fedcxr
  install -d -o root -g fedcxr -m 0750 /etc/fedcxr
  install -d -o fedcxr -g fedcxr -m 0700 /var/lib/fedcxr
  [ -e "/etc/fedcxr/$service.env" ] || install -o root -g fedcxr -m 0640 "systemd/$service.env" "/etc/fedcxr/$service.env"
  install -m 0644 "systemd/fedcxr-$service.service" /etc/systemd/system/
  echo "next: systemctl daemon-reload && systemctl enable --now fedcxr-$service"
fi
