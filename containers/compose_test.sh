#!/usr/bin/env bash
# docker-compose.yml for real: build the image, bring up a coordinator and three hospitals, train a study across
# them while one is stopped and started, check that they are sealed off, and take everything down.
#
# Uses the container engine that answers, or starts a private one (as root, from Debian's packages). Exit code 0:
# every check holds; 2: no engine can be had here; anything else: a check or a step failed. KEEP=1 leaves all of it
# running to look at, and says where it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d -t fedcxr-compose.XXXXXX)
project=fedcxr-$(basename "$work" | tr -cd '[:alnum:]' | tr '[:upper:]' '[:lower:]')
export FEDCXR_IMAGE=$project:test BASE
python=${PYTHON:-python3}
started=$SECONDS

step() { printf '%4d s  %s\n' $((SECONDS - started)) "$*"; }

tidy() {
  code=$?
  trap - EXIT INT TERM
  if [ "${KEEP:-}" = 1 ]; then
    echo "kept: DOCKER_HOST=${DOCKER_HOST:-} FEDCXR_IMAGE=$FEDCXR_IMAGE ${compose[*]:-}"
    echo "end it with: ${compose[*]:-} down --volumes; containers/engine.sh stop $work/engine"
    exit "$code"
  fi
  if [ -n "${compose[*]:-}" ]; then
    step "taking everything down"
    [ "$code" = 0 ] || "${compose[@]}" logs --no-color --tail 40 || true
    "${compose[@]}" down --volumes --remove-orphans --timeout 10 >"$work/down.log" 2>&1 || cat "$work/down.log"
    # A private engine's images go with its folder.
    [ -n "$settings" ] || docker image rm --force "$FEDCXR_IMAGE" >/dev/null 2>&1 || true
  fi
  containers/engine.sh stop "$work/engine"
  rm -rf "$work"
  step "done, exit code $code"
  exit "$code"
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step "container engine"
settings=$(containers/engine.sh start "$work/engine")
eval "$settings"

step "base image and wheels"
containers/wheels.sh wheels >"$work/wheels.log" 2>&1 &
wheels=$!
BASE=$(containers/engine.sh base "$work/engine")
wait "$wheels" || { cat "$work/wheels.log"; exit 1; }

step "image on $BASE"
docker build --network none --build-arg BASE="$BASE" --tag "$FEDCXR_IMAGE" . >"$work/build.log" 2>&1 \
  || { tail -30 "$work/build.log"; exit 1; }

step "one coordinator, three hospitals"
if docker compose version >/dev/null 2>&1; then
  compose=(docker compose --project-name "$project")
else
  compose=(docker-compose --project-name "$project")
fi
"${compose[@]}" up --detach --no-build >"$work/up.log" 2>&1 || { cat "$work/up.log"; exit 1; }

step "checks"
"$python" containers/compose_checks.py "${compose[@]}"
