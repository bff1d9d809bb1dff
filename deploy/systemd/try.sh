#!/usr/bin/env bash
# The services for real, on a throw-away system: try.sh BUNDLE   (as root; a machine with systemd 252 or newer; 5 minutes)
#
# BUNDLE  fedcxr-VERSION-offline.tar of `make offline-bundle`
#
# Boots this machine's own systemd once more, in namespaces of its own: no network but loopback, every file that is
# written lies in memory and is gone at the end. There it installs the bundle with install.sh, starts both services as
# their guides say, hangs the coordinator, and stops both. Exit code 0: each did what its unit promises.
set -euo pipefail
bundle=$(realpath "${1:?usage: try.sh BUNDLE}")
[ "$(id -u)" = 0 ] || { echo "only root can boot a system" >&2; exit 2; }
work=$(mktemp -d)
program=/opt/fedcxr/bin/fedcxr state=/var/lib/fedcxr

tidy() {
  code=$?
  trap - EXIT
  [ -z "${booted:-}" ] || kill -9 "$booted" 2>/dev/null || true
  [ "$code" = 0 ] || tail -n 20 "$work"/*.log || true
  rm -rf "$work"
  exit "$code"
}
trap tidy EXIT

boot() {
  mount --make-rprivate /
  mount -t tmpfs tmpfs "$1"
  mkdir "$1"/{upper,work,root}
  mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
  cd "$1/root"
  mount -t proc proc proc
  mount -t sysfs sysfs sys
  for folder in run tmp dev sys/fs/cgroup; do mount -t tmpfs tmpfs $folder; done
  for device in null zero full random urandom tty; do touch dev/$device && mount --bind /dev/$device dev/$device; done
  mkdir -p dev/{pts,shm} old sys/fs/cgroup/{unified,systemd}
  mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
  ln -s pts/ptmx dev/ptmx
  mount -t tmpfs tmpfs dev/shm
  mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
  mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd || mount -t cgroup2 cgroup2 sys/fs/cgroup
  pivot_root . old
  umount --lazy /old
  exec env -i container=fedcxr-try PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --system --unit=basic.target
}

inside() { nsenter --target "$booted" --all --root --wd env -i PATH=/usr/sbin:/usr/bin HOME=/root "$@"; }
as_fedcxr() { inside runuser -u fedcxr -- sh -c "cd $state && $*"; }
await() { for _ in $(seq "$1"); do if "${@:2}" >"$work/await.log" 2>&1; then return; fi; sleep 1; done; false; }
step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
is() { [ "$(inside systemctl show --property "$2" --value "fedcxr-$1")" = "$3" ]; }
restarted() { is coordinator NRestarts 1 && inside systemctl is-active --quiet fedcxr-coordinator; }
stop_within() {
  begun=$SECONDS
  inside systemctl stop "fedcxr-$2"
  is "$2" Result success && [ $((SECONDS - begun)) -le "$1" ]
  step "the $2 stopped in $((SECONDS - begun)) s"
}

export -f boot
mkdir "$work/system"
unshare --mount --pid --fork --uts --ipc --cgroup --net bash -euc "boot $work/system" >"$work/boot.log" 2>&1 </dev/null &
parent=$!
await 20 pgrep --parent "$parent"
booted=$(pgrep --parent "$parent")
await 60 inside systemctl is-system-running
step "a system runs"

inside mkdir /root/bundle
inside tar --extract --directory /root/bundle --strip-components 1 <"$bundle"
for service in coordinator hospital; do inside sh /root/bundle/install.sh --service $service >"$work/install.log" 2>&1; done
inside systemctl daemon-reload
step "both services are installed, without a network"

as_fedcxr "$program coordinator init --host localhost --state $state" >"$work/init.log"
inside systemctl start fedcxr-coordinator
as_fedcxr "$program coordinator status --state $state" >"$work/status.log"
step "systemctl start returned, and hospitals can connect"

code=$(as_fedcxr "$program coordinator invite st-mary --state $state" | grep -o 'fedcxr1\.[^ ]*')
inside sh -c "$program phantom /srv --sites 1 --records 12 --image-size 64 && chmod -R a+rX /srv" >"$work/phantom.log"
as_fedcxr "$program hospital join $code --data /srv/hospital-a --folder ." >"$work/join.log"
as_fedcxr "$program hospital ingest" >"$work/ingest.log"
inside systemctl start fedcxr-hospital
await 60 as_fedcxr "$program hospital health"
step "the hospital is registered"

inside kill -STOP "$(inside systemctl show --property MainPID --value fedcxr-coordinator)"
await 120 restarted
step "a coordinator that hung was started anew"
await 60 as_fedcxr "$program hospital health"
stop_within 10 hospital
stop_within 30 coordinator
