# shellcheck shell=bash
# Names, addresses and small helpers that the scripts of this directory share. Sourced, never run.

cluster_src=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$cluster_src/../.." && pwd)

# What belongs to this checkout's node. Programs and logs outlive the node, the rest goes with it.
state=$checkout/target/cluster
bin=$state/bin
log=$state/log
kubeconfig=$state/kubeconfig

# What is there once per machine, since the node's names and addresses are fixed.
machine=/run/workflow-injector
machine_lock=/run/lock/workflow-injector
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/workflow-injector

node_name=node1
host_link=wi0
host_ip=10.77.0.1
node_ip=10.77.0.2
link_net=10.77.0.0/24
pod_net=10.244.0.0/22
# No pod has the address behind this one: a test dials it.
last_pod_ip=10.244.3.253
service_net=10.96.0.0/16
# The way out of the node to wherever the machine itself can connect, with a resolver at .3.
way_out_net=10.77.1.0/24
way_out_resolver=10.77.1.3
pause_image=local.test/pause:1

# How the programs of the images are compiled. The second flag packs relocations, which saves 0.4 MB;
# a linker that does not know it goes on without.
static='-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs'

topic=cluster

say() {
  printf '%s: %s\n' "$topic" "$*"
}

die() {
  printf '%s: %s\n' "$topic" "$*" >&2
  exit 1
}

# has COMMAND: also those that a login without /usr/sbin in its PATH would not find.
PATH=$PATH:/usr/sbin:/sbin
has() {
  command -v "$1" >/dev/null
}

# quietly LABEL LOG COMMAND...: one line when it starts, one a minute while it lasts, one when it is
# done; the output goes to LOG, whose end is shown if the command fails.
quietly() {
  local label=$1 output=$2 began=$SECONDS ticker failed=0
  shift 2
  mkdir -p "$(dirname "$output")"
  say "$label ..."
  (
    trap 'kill "$!" 2>/dev/null; exit' TERM
    # Not longer than the script itself, should that be killed.
    while sleep 60 & wait "$!" && kill -0 $$ 2>/dev/null; do say "$label ... $(((SECONDS - began) / 60)) min"; done
  ) &
  ticker=$!
  "$@" >"$output" 2>&1 || failed=$?
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  if [ "$failed" -ne 0 ]; then
    tail -n 40 "$output" >&2
    die "$label: failed after $((SECONDS - began)) s; the whole output: $output"
  fi
  say "$label: done in $((SECONDS - began)) s"
}

# Directories that the components expect on a machine. In the node they are its own, empty at its start;
# the machine gets them only as places to mount on.
tmpfs_directories=(/run/containerd /var/lib/cni /var/log/containers)
node_directories=("${tmpfs_directories[@]}" /var/lib/kubelet /var/log/pods)

# Where network plugins are: Debian's directory, then other distributions'.
cni_directories=(/usr/lib/cni /opt/cni/bin /usr/libexec/cni)

# Holds the machine-wide lock until the script ends. Long-lived children must close descriptor 9.
lock_machine() {
  mkdir -p "$(dirname "$machine_lock")"
  exec 9>"$machine_lock"
  flock --nonblock 9 && return
  say "waiting for another cluster-up or cluster-down on this machine"
  flock 9
}

# Closes what the caller had open, such as the lock of a script around this one: what lasts as long as
# the node would hold it as long.
close_inherited() {
  local fd
  for fd in "/proc/$BASHPID/fd"/*; do
    fd=${fd##*/}
    # bash itself reads the script by 255.
    case $fd in 0 | 1 | 2 | 255) ;; *) eval "exec $fd>&-" ;; esac
  done
}

# Prints the process from outside of which the node is entered. Fails if no node runs.
node_pid() {
  local pid
  read -r pid 2>/dev/null <"$machine/pid" && cgroup_pids | grep -x "$pid"
}

# Prints the checkout that the running node belongs to.
node_owner() {
  cat "$machine/owner" 2>/dev/null || echo "unknown"
}

owned_by_another_checkout() {
  local owner
  owner=$(node_owner)
  [ "$owner" != "$checkout" ] && [ -d "$owner" ]
}
