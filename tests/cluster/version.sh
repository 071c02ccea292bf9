# shellcheck shell=bash
# Settings that depend on the Kubernetes version, selected by K8S. A version is a directory with a go.mod, which requires
# the exact release.

K8S=${K8S:-1.37}
case $K8S in
  1.37) k8s_module=$cluster_src ;;
  1.34) k8s_module=$cluster_src/kubernetes-1.34 ;;
  *) die "K8S=$K8S is not supported; choose 1.34 or 1.37" ;;
esac

# From 1.35 the kubelet rejects a cgroup v1 machine by default.
kubelet_v1_setting='failCgroupV1: false'

k8s_release=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$k8s_module/go.mod")
k8s_minor=${k8s_release#v1.}
k8s_minor=${k8s_minor%%.*}
