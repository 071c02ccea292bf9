# shellcheck shell=bash
# Creates, enters, empties and removes the node's cgroups. They identify the node's processes: unlike a file with process
# ids, the kernel keeps them correct through any crash.

cgroup_root=/sys/fs/cgroup
cgroup_name=workflow-injector-node

# Evaluated before anything else is mounted there.
case $(stat -f -c %T "$cgroup_root") in
  cgroup2fs) cgroup_version=2 ;;
  *) cgroup_version=1 ;;
esac

# Prints a line "CONTROLLERS PATH" for each v1 hierarchy that this process is in.
v1_hierarchies() {
  awk -F: '$2 != "" { print $2, $3 }' /proc/self/cgroup
}

# Prints the directories of the node's cgroups, whatever their parent.
cgroup_dirs() {
  find "$cgroup_root" -type d -name "$cgroup_name" -prune 2>/dev/null || true
}

cgroup_pids() {
  local dirs
  mapfile -t dirs < <(cgroup_dirs)
  [ ${#dirs[@]} -eq 0 ] && return
  find "${dirs[@]}" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un
}

# v1: below the caller's own cgroup, so that the caller's limits apply to the node.
# v2: at the top, since a cgroup with processes of its own can't delegate controllers.
cgroup_create() {
  local controllers own parent
  if [ "$cgroup_version" = 2 ]; then
    mkdir -p "$cgroup_root/$cgroup_name/init"
    for own in cpu cpuset memory pids io; do
      echo "+$own" >"$cgroup_root/cgroup.subtree_control" || true
    done
    return
  fi
  while read -r controllers own; do
    parent=$cgroup_root/${controllers#name=}
    [ -d "$parent$own" ] && parent=$parent${own%/}
    mkdir -p "$parent/$cgroup_name"
    case ,$controllers, in
      *,cpuset,*)
        # A new cpuset has no processors, and accepts no process until it has some.
        cat "$parent/cpuset.cpus" >"$parent/$cgroup_name/cpuset.cpus"
        cat "$parent/cpuset.mems" >"$parent/$cgroup_name/cpuset.mems"
        ;;
    esac
  done < <(v1_hierarchies)
}

# cgroup_enter PID [top]: moves a process into the node; on v2 below its top, which delegates controllers to the pods
# and so may contain a process only while its namespace is created.
cgroup_enter() {
  local dir leaf=
  [ "$cgroup_version" = 2 ] && [ "${2:-}" != top ] && leaf=/init
  while read -r dir; do
    echo "$1" >"$dir$leaf/cgroup.procs"
  done < <(cgroup_dirs)
}

# Inside the node: mounts its cgroups as the only ones, where the kubelet and runc expect them.
cgroup_mount() {
  local controllers _ mountpoint
  if [ "$cgroup_version" = 2 ]; then
    mount -t cgroup2 cgroup2 "$cgroup_root"
    return
  fi
  mount -t tmpfs -o mode=755 cgroup "$cgroup_root"
  while read -r controllers _; do
    mountpoint=$cgroup_root/${controllers#name=}
    mkdir "$mountpoint"
    case $controllers in
      name=*) mount -t cgroup -o "none,$controllers" cgroup "$mountpoint" ;;
      *) mount -t cgroup -o "$controllers" cgroup "$mountpoint" ;;
    esac
  done < <(v1_hierarchies)
}

# Kills every process of the node, pods included. Fails if one survives.
cgroup_kill() {
  local pids
  for _ in $(seq 100); do
    mapfile -t pids < <(cgroup_pids)
    [ ${#pids[@]} -eq 0 ] && return
    kill -KILL "${pids[@]}" 2>/dev/null || true
    sleep 0.1
  done
  return 1
}

# Removes the empty cgroups. Fails if one can't be removed.
cgroup_remove() {
  local dirs
  for _ in $(seq 50); do
    mapfile -t dirs < <(cgroup_dirs)
    [ ${#dirs[@]} -eq 0 ] && return
    find "${dirs[@]}" -depth -type d -exec rmdir {} + 2>/dev/null || true
    sleep 0.1
  done
  return 1
}
