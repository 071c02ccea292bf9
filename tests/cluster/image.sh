# shellcheck shell=bash
# Builds container images from the project's Containerfile without an engine, and loads them into the node.

image_dir=$checkout/target/images
# Everything that buildah writes is below one directory, which is deleted once the image is an archive.
image_store=$image_dir/store

image_buildah() {
  TMPDIR=$image_store buildah --storage-driver vfs --root "$image_store/root" --runroot "$image_store/run" "$@"
}

# One store at a time; its content belongs to an interrupted build.
image_store_open() {
  mkdir -p "$image_dir"
  exec 7>"$image_dir/lock"
  flock 7
  rm -rf "$image_store"
  mkdir -p "$image_store/context"
  # buildah records pushes here; the path can't be configured.
  image_notes=
  [ -e /var/lib/containers ] || image_notes=/var/lib/containers
}

image_store_close() {
  rm -rf "$image_store" ${image_notes:+"$image_notes"}
  exec 7>&-
}

# image_archive TARGET BINARY NAME FILE: builds the Containerfile's TARGET around BINARY, as NAME, into FILE.
image_archive() {
  local target=$1 binary=$2 name=$3 file=$4
  image_store_open
  cp -L "$binary" "$image_store/context/$target"
  {
    image_buildah bud --isolation chroot --layers=false --cni-config-dir "$image_store/cni" \
      --file "$checkout/Containerfile" --target "$target" --tag "$name" "$image_store/context" &&
      image_buildah push "$name" "oci-archive:$file.new:$name" && mv "$file.new" "$file"
  } >"$image_dir/$target.log" 2>&1 || {
    tail -n 20 "$image_dir/$target.log" >&2
    die "the image $name was not built; the whole output: $image_dir/$target.log"
  }
  image_store_close
}

# image_load FILE: loads an archive into the node's container runtime.
image_load() {
  "$cluster_src/node-exec" ctr --namespace k8s.io images import - <"$1" >/dev/null
}

# image_push FILE NAME: pushes an archive to the registry that NAME begins with.
image_push() {
  local image
  image_store_open
  { image=$(image_buildah pull --quiet "oci-archive:$1") && image_buildah push --quiet "$image" "docker://$2"; } ||
    die "$2 could not be pushed: is the registry right, and are you logged in (buildah login)?"
  image_store_close
}
