# shellcheck shell=bash
# Container images: built from the project's Containerfile without an engine, and given to the node.

# Everything that buildah writes is below one folder, and gone when the image is an archive.
image_buildah() {
  TMPDIR=$image_store buildah --storage-driver vfs --root "$image_store/root" --runroot "$image_store/run" "$@"
}

# image_archive TARGET BINARY NAME FILE: builds the Containerfile's TARGET around BINARY, as NAME, into FILE.
image_archive() {
  local target=$1 binary=$2 name=$3 file=$4 image_store
  mkdir -p "$checkout/target/images"
  image_store=$(mktemp -d "$checkout/target/images/build.XXXXXX")
  mkdir "$image_store/context"
  cp -L "$binary" "$image_store/context/$target"
  if ! {
    image_buildah bud --isolation chroot --layers=false --file "$checkout/Containerfile" \
      --target "$target" --tag "$name" "$image_store/context" &&
      image_buildah push "$name" "oci-archive:$file.new:$name"
  } >"$image_store/output" 2>&1; then
    tail -n 20 "$image_store/output" >&2
    rm -rf "$image_store"
    die "the image $name was not built"
  fi
  mv "$file.new" "$file"
  rm -rf "$image_store"
}

# image_load FILE: gives an archive to the node's container runtime.
image_load() {
  "$cluster_src/node-exec" ctr --namespace k8s.io images import - <"$1" >/dev/null
}
