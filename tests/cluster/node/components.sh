# shellcheck shell=bash
# Starts the node's components and restarts those that end. Sourced by node/init.

# supervise NAME COMMAND...: restarts a component whenever it ends; its output is in log/NAME.log.
supervise() {
  local name=$1
  shift
  while :; do
    "$@" </dev/null >>"$log/$name.log" 2>&1 || true
    echo "$name has ended, restarting" >>"$log/$name.log"
    sleep 1
  done &
}

start_components() {
  supervise containerd containerd --config "$state/etc/containerd.toml"
  supervise etcd "$bin/etcd" --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
  supervise kube-apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
    --advertise-address "$node_ip" --service-cluster-ip-range "$service_net" \
    --cert-dir "$state/pki" --token-auth-file "$state/pki/tokens.csv" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$state/pki/service-account.pub" \
    --service-account-signing-key-file "$state/pki/service-account.key" \
    --kubelet-preferred-address-types InternalIP --allow-privileged

  # The other components need the certificate that the API server creates.
  until (exec 3<>"/dev/tcp/$node_ip/6443") 2>/dev/null; do sleep 0.1; done
  # The second of the two certificates is the CA, which clients trust.
  awk '/BEGIN/ { n++ } n == 2' "$state/pki/apiserver.crt" >"$state/pki/ca.crt"

  # Its default request limits slow down the controllers that tests wait for.
  supervise kube-controller-manager "$bin/kube-controller-manager" \
    --kubeconfig "$state/etc/kube-controller-manager.kubeconfig" --leader-elect=false \
    --kube-api-qps 500 --kube-api-burst 1000 --use-service-account-credentials \
    --service-account-private-key-file "$state/pki/service-account.key" --root-ca-file "$state/pki/ca.crt" \
    --flex-volume-plugin-dir /var/lib/kubelet/volume-plugins
  supervise kube-scheduler "$bin/kube-scheduler" \
    --kubeconfig "$state/etc/kube-scheduler.kubeconfig" --leader-elect=false
  supervise kubelet "$bin/kubelet" --kubeconfig "$state/etc/kubelet.kubeconfig" \
    --config "$state/etc/kubelet.yaml" --hostname-override "$node_name" --node-ip "$node_ip"
  # The connection tracker's settings are machine-wide: 0 keeps them.
  supervise kube-proxy "$bin/kube-proxy" --kubeconfig "$state/etc/kube-proxy.kubeconfig" \
    --hostname-override "$node_name" --proxy-mode nftables --conntrack-max-per-core 0 \
    --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
}
