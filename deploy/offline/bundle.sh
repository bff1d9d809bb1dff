#!/usr/bin/env bash
# Put a release into one file for a machine that reaches no network: bundle.sh WHEELS OUT
#
# WHEELS  folder with the wheels of the release itself and of everything it needs (containers/wheels.sh fetches those)
# OUT     folder that gets fedcxr-VERSION-offline.tar and its SHA-256 beside it
#
# The same input gives the same bytes. Carry the file over, compare its SHA-256 by another way, unpack it, and read
# install.sh before you type `sh install.sh`.
set -euo pipefail
wheels=$(cd "${1:?usage: bundle.sh WHEELS OUT}" && pwd)
out=$(mkdir -p "${2:?usage: bundle.sh WHEELS OUT}" && cd "$2" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3}

own=("$wheels"/fedcxr-*.whl)
if [ ! -e "${own[0]}" ] || [ ${#own[@]} -ne 1 ]; then
  echo "$wheels must hold one wheel of fedcxr: make it with \`pip wheel --no-deps --wheel-dir $wheels .\`" >&2
  exit 2
fi
version=$(basename "${own[0]}" | cut -d- -f2)
name=fedcxr-$version-offline
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
folder=$work/$name

mkdir -p "$folder/wheels" "$folder/docs"
cp "$wheels"/*.whl "$folder/wheels/"
cp deploy/offline/install.sh LICENSE "$folder/"
cp -R deploy/systemd "$folder/systemd"
cp configs/hospital.example.yaml configs/privacy.example.yaml configs/reference.yaml "$folder/docs/"
cp docs/*.md "$folder/docs/"
"$python" deploy/sbom.py requirements.lock "$folder/sbom.json" --wheels "$wheels" >/dev/null
echo "$version" >"$folder/VERSION"
find "$folder" -type d -exec chmod 755 {} +
find "$folder" -type f -exec chmod 644 {} +
(cd "$folder" && find . -type f ! -name SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum >SHA256SUMS)

tar --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-0}" \
  --create --file "$out/.$name.tar" "$name"
mv "$out/.$name.tar" "$out/$name.tar"
(cd "$out" && sha256sum "$name.tar" >"$name.tar.sha256")
cat "$out/$name.tar.sha256"
