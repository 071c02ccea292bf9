# shellcheck shell=bash
# What depends on the Kubernetes version, chosen by K8S. A version is a directory with a go.mod; the
# exact release is the one that is required there.

K8S=${K8S:-1.37}
case $K8S in
  1.37) k8s_module=$cluster_src ;;
  1.34) k8s_module=$cluster_src/kubernetes-1.34 ;;
  *) die "K8S=$K8S is not a version that is built here; there are: 1.34, 1.37" ;;
esac

# From 1.35 the kubelet refuses a cgroup v1 machine unless told not to; before, this is the default.
kubelet_v1_setting='failCgroupV1: false'

k8s_release=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$k8s_module/go.mod")
k8s_minor=${k8s_release#v1.}
k8s_minor=${k8s_minor%%.*}
