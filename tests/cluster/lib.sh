# shellcheck shell=bash
# Names, addresses and helpers of the scripts of this directory. Sourced, never run.

cluster_src=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$cluster_src/../.." && pwd)

# Files of this checkout's node. Programs and logs outlive the node, the rest is deleted with it.
state=$checkout/target/cluster
bin=$state/bin
log=$state/log
kubeconfig=$state/kubeconfig

# One per machine, since the node's names and addresses are fixed.
machine=/run/workflow-injector
machine_lock=/run/lock/workflow-injector
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/workflow-injector

node_name=node1
host_link=wi0
host_ip=10.77.0.1
node_ip=10.77.0.2
link_net=10.77.0.0/24
pod_net=10.244.0.0/22
last_pod_ip=10.244.3.253
service_net=10.96.0.0/16
# Network between the node and whatever the machine can connect to, with a resolver at .3.
way_out_net=10.77.1.0/24
way_out_resolver=10.77.1.3
pause_image=local.test/pause:1
# Registry of the test of a release; it listens on this machine's address that the node reaches.
test_registry=$host_ip:5000/team

# Flags for the programs of the images. The second packs relocations, which saves 0.4 MB; linkers ignore it if unknown.
# The others keep this machine's paths out of the programs.
static="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs \
--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo --remap-path-prefix=$checkout=."

topic=cluster

say() {
  printf '%s: %s\n' "$topic" "$*"
}

die() {
  printf '%s: %s\n' "$topic" "$*" >&2
  exit 1
}

# has COMMAND: checks that a command exists, also in /usr/sbin.
PATH=$PATH:/usr/sbin:/sbin
has() {
  command -v "$1" >/dev/null
}

# Prints the version that the checkout declares.
declared_version() {
  sed -n 's/^version = "\(.*\)"$/\1/p' "$checkout/Cargo.toml" | head -n 1
}

# quietly LABEL LOG COMMAND...: runs a command with its output in LOG, whose end is shown if the command fails. Prints a
# line at the start, every 30 seconds, and at the end. The lines between say how far cargo and go have come; a caller of
# `go build -v` sets go_packages to the number of all packages.
quietly() {
  local label=$1 output=$2 began=$SECONDS ticker failed=0
  shift 2
  mkdir -p "$(dirname "$output")"
  say "$label ..."
  (
    trap 'kill "$!" 2>/dev/null; exit' TERM
    # Ends with the script itself, should that be killed.
    while sleep 30 & wait "$!" && kill -0 $$ 2>/dev/null; do
      say "$label ... $((SECONDS - began)) s$(progress "$output")"
    done
  ) &
  ticker=$!
  # Otherwise cargo prints progress to terminals only.
  CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=100 "$@" >"$output" 2>&1 || failed=$?
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  # A line of progress ends with a carriage return.
  sed -i 's/.*\r//' "$output"
  if [ "$failed" -ne 0 ]; then
    tail -n 40 "$output" >&2
    die "$label: failed after $((SECONDS - began)) s; full output: $output"
  fi
  say "$label: done in $((SECONDS - began)) s"
}

# progress LOG: prints how far the command has come that writes LOG, if it says so.
progress() {
  [ -s "$1" ] || return 0
  if [ -n "${go_packages:-}" ]; then
    printf ', %d of %d packages; now %s' "$(wc -l <"$1")" "$go_packages" "$(tail -n 1 "$1")"
  else
    # cargo's: Building [===>   ] 123/397: kube-client, kube-runtime
    tail -c 4000 "$1" | tr '\r' '\n' | sed -nE 's/^ *Building \[.*\] ([0-9]+)\/([0-9]+): (.*[^ ]) *$/, \1 of \2 crates; now \3/p' |
      tail -n 1
  fi
}

# Directories that the components expect. The node mounts its own over them, empty at its start; on the machine they are
# only mount points.
tmpfs_directories=(/run/containerd /var/lib/cni /var/log/containers)
node_directories=("${tmpfs_directories[@]}" /var/lib/kubelet /var/log/pods)

# Directories of network plugins: Debian's, then those of other distributions.
cni_directories=(/usr/lib/cni /opt/cni/bin /usr/libexec/cni)

# Holds the machine-wide lock until the script ends. Long-lived children must close descriptor 9.
lock_machine() {
  mkdir -p "$(dirname "$machine_lock")"
  exec 9>"$machine_lock"
  flock --nonblock 9 && return
  say "waiting for another cluster-up or cluster-down on this machine"
  flock 9
}

# Closes inherited file descriptors, such as the lock of a calling script, which the node would otherwise hold as long as
# it runs.
close_inherited() {
  local fd
  for fd in "/proc/$BASHPID/fd"/*; do
    fd=${fd##*/}
    # bash itself reads the script by 255.
    case $fd in 0 | 1 | 2 | 255) ;; *) eval "exec $fd>&-" ;; esac
  done
}

# Prints the process whose namespaces are the node's. Fails if no node runs.
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
