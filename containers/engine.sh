#!/usr/bin/env bash
# A container engine for the length of a test: engine.sh start|base|stop FOLDER
#
# start   uses the engine that answers already; otherwise starts a private one whose socket, data and logs all lie
#         in FOLDER, and prints the DOCKER_HOST to use. Exit code 2: no engine can be had here, and why.
# base    prints the name of a base image with Python 3.11: the public one, or, where it cannot be pulled, one
#         made from Debian's packages.
# stop    ends the private engine, if FOLDER holds one, and removes FOLDER.
set -euo pipefail
command=${1:?usage: engine.sh start|base|stop FOLDER}
folder=$(mkdir -p "${2:?usage: engine.sh start|base|stop FOLDER}" && cd "$2" && pwd)
public=python:3.11-slim-bookworm
own=fedcxr/base:bookworm

no_engine() {
  echo "no container engine can be had: $1" >&2
  exit 2
}

have_compose() { docker-compose version >/dev/null 2>&1 || docker compose version >/dev/null 2>&1; }

install_packages() {
  command -v dockerd >/dev/null && command -v iptables >/dev/null && have_compose && return
  [ "$(id -u)" = 0 ] || no_engine "none answers, and only root may install one"
  command -v apt-get >/dev/null || no_engine "none answers, and apt-get is not here to install one"
  { apt-get update --quiet=2 \
      && DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
           docker.io docker-compose iptables tini; } >"$folder/apt.log" 2>&1 \
    || no_engine "apt-get failed: $(tail -1 "$folder/apt.log")"
}

start_private() {
  [ "$(id -u)" = 0 ] || no_engine "none answers, and only root may start one"
  export DOCKER_HOST="unix://$folder/docker.sock"
  setsid dockerd --host "$DOCKER_HOST" --data-root "$folder/data" --exec-root "$folder/run" \
    --pidfile "$folder/pid" --bridge none >"$folder/log" 2>&1 </dev/null &
  for _ in $(seq 60); do
    docker info >/dev/null 2>&1 && return
    kill -0 $! 2>/dev/null || break
    sleep 0.5
  done
  no_engine "dockerd does not start: $(grep -v level=info "$folder/log" | tail -1)"
}

make_base() {
  if ! command -v debootstrap >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends debootstrap >"$folder/apt.log" 2>&1
  fi
  # The mirror that this machine's apt uses already.
  mirror=$(awk '/^URIs:/ && !/security/ {print $2; exit}' /etc/apt/sources.list.d/*.sources)
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder/rootfs" "$mirror" \
    >"$folder/debootstrap.log" 2>&1
  rm -rf "$folder"/rootfs/var/cache/apt/archives/*.deb "$folder"/rootfs/var/lib/apt/lists/*
  tar --directory "$folder/rootfs" --create . | docker import - "$own" >/dev/null
  rm -rf "$folder/rootfs"
}

case $command in
  start)
    if docker info >/dev/null 2>&1; then
      have_compose || no_engine "the one that answers has no compose: install docker-compose"
    else
      install_packages
      start_private
      echo "export DOCKER_HOST=$DOCKER_HOST"
    fi ;;
  base)
    if docker image inspect "$public" >/dev/null 2>&1 || timeout 120 docker pull --quiet "$public" >/dev/null 2>&1; then
      echo "$public"
    else
      docker image inspect "$own" >/dev/null 2>&1 || make_base
      echo "$own"
    fi ;;
  stop)
    if pid=$(cat "$folder/pid" 2>/dev/null); then
      kill "$pid"
      while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
    fi
    rm -rf "$folder"/{data,run,rootfs,docker.sock,pid,log,apt.log,debootstrap.log}
    rmdir "$folder" ;;
  *) echo "usage: engine.sh start|base|stop FOLDER" >&2; exit 64 ;;
esac
