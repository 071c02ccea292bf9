# shellcheck shell=bash
# Is the node what it should be? Asked from the machine, as tests and users reach it.

# A cache of its own: the user's is left alone.
export KUBECACHEDIR=$state/kubectl-cache

admin() {
  "$bin/kubectl" --kubeconfig "$state/etc/admin.kubeconfig" --request-timeout 5s "$@" 2>/dev/null
}

answers() {
  curl --silent --fail --insecure --noproxy '*' --max-time 5 --output /dev/null "$1"
}

# Prints what is the first thing wrong with the node. Fails if nothing is.
unhealthy() {
  local ready
  node_pid >/dev/null || { echo "its first process has ended"; return; }
  [ -e "/sys/class/net/$host_link" ] || { echo "its link to the machine is gone"; return; }
  [ ! -s "$state/way-out" ] || "$cluster_src/node-exec" test -e /sys/class/net/tap0 ||
    { echo "its way out of this machine is gone"; return; }
  "$cluster_src/node-exec" ctr version >/dev/null 2>&1 || { echo "containerd does not answer"; return; }
  admin get --raw /readyz >/dev/null || { echo "kube-apiserver is not ready"; return; }
  answers "https://$node_ip:10257/healthz" || { echo "kube-controller-manager does not answer"; return; }
  answers "https://$node_ip:10259/healthz" || { echo "kube-scheduler does not answer"; return; }
  answers "http://$node_ip:10248/healthz" || { echo "kubelet does not answer"; return; }
  answers "http://$node_ip:10256/healthz" || { echo "kube-proxy does not answer"; return; }
  ready=$(admin get node "$node_name" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') || true
  [ "$ready" = True ] || { echo "the node is not Ready"; return; }
  admin get serviceaccount default -n default >/dev/null || { echo "there is no default ServiceAccount"; return; }
  return 1
}

# wait_healthy SECONDS: fails if the node is not sound by then; what is wrong is left in `problem`.
wait_healthy() {
  local until=$((SECONDS + $1))
  while problem=$(unhealthy); do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.2
  done
}
