#!/usr/bin/env bash
# Download what the image is built from: wheels.sh FOLDER
#
# The run-time dependencies of pyproject.toml at the versions of requirements.lock, with those for a bucket, and the
# build backend; no development tools. They are for Python 3.11, whichever Python runs this. Where pip looks for packages is pip's
# own configuration; let it prefer PyTorch's CPU build, the other one is some gigabytes larger.
set -euo pipefail
folder=$(mkdir -p "${1:?usage: wheels.sh FOLDER}" && cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "wheels.sh needs Python 3.11 or newer: set PYTHON=/path/to/python3.11" >&2
  exit 1
}
lock=$(cat pyproject.toml requirements.lock containers/wheels.sh | sha256sum)
if [ "$(cat "$folder/.complete" 2>/dev/null)" = "$lock" ]; then
  exit 0
fi

rm -f "$folder"/*.whl "$folder/.complete"
"$python" - >"$folder/wanted.txt" <<'PYTHON'
import pathlib, tomllib
project = tomllib.loads(pathlib.Path("pyproject.toml").read_text(encoding="utf-8"))
needed, extras = project["project"]["dependencies"], project["project"]["optional-dependencies"]
print(*needed, *extras["bucket"], *project["build-system"]["requires"], sep="\n")
PYTHON
"$python" -m pip download --quiet --disable-pip-version-check --only-binary=:all: --python-version 3.11 \
  --constraint requirements.lock --requirement "$folder/wanted.txt" --dest "$folder"
echo "$lock" >"$folder/.complete"
