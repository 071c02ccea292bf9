# shellcheck shell=bash
# Checks the health of the node from the machine, as tests and users reach it.

# Does not use the user's cache.
export KUBECACHEDIR=$state/kubectl-cache

admin() {
  "$bin/kubectl" --kubeconfig "$state/etc/admin.kubeconfig" --request-timeout 5s "$@" 2>/dev/null
}

responds() {
  curl --silent --fail --insecure --noproxy '*' --max-time 5 --output /dev/null "$1"
}

# Prints the first problem of the node. Fails if there is none.
unhealthy() {
  local ready
  node_pid >/dev/null || { echo "its first process has ended"; return; }
  [ -e "/sys/class/net/$host_link" ] || { echo "its link to the machine is gone"; return; }
  [ ! -s "$state/way-out" ] || "$cluster_src/node-exec" test -e /sys/class/net/tap0 ||
    { echo "its connection beyond this machine is gone"; return; }
  "$cluster_src/node-exec" ctr version >/dev/null 2>&1 || { echo "containerd does not respond"; return; }
  admin get --raw /readyz >/dev/null || { echo "kube-apiserver is not ready"; return; }
  responds "https://$node_ip:10257/healthz" || { echo "kube-controller-manager does not respond"; return; }
  responds "https://$node_ip:10259/healthz" || { echo "kube-scheduler does not respond"; return; }
  responds "http://$node_ip:10248/healthz" || { echo "kubelet does not respond"; return; }
  responds "http://$node_ip:10256/healthz" || { echo "kube-proxy does not respond"; return; }
  ready=$(admin get node "$node_name" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') || true
  [ "$ready" = True ] || { echo "the node is not Ready"; return; }
  admin get serviceaccount default -n default >/dev/null || { echo "there is no default ServiceAccount"; return; }
  return 1
}

# wait_healthy SECONDS: fails if the node is not healthy by then, with the reason in `problem`.
wait_healthy() {
  local until=$((SECONDS + $1))
  while problem=$(unhealthy); do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.2
  done
}
