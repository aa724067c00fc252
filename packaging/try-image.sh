#!/bin/sh
# Runs the image: the demo, and a daemon that is used by `podman exec` and stopped. `.ci/long` calls it.
#
#   try-image.sh target/dist/forgewatch-VERSION-image.tar
#
#   PODMAN=podman    with options, such as `podman --runtime runc`
#   OPTIONS=         more options of `podman run`
set -eu
PODMAN=${PODMAN:-podman}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/forgewatch.toml" <<'CONFIG'
[api]
base_url = "http://127.0.0.1:8080"
account_service_id = 5678
[[jobs]]
job = "diff/1"
CONFIG
chmod 755 "$folder"

# Variables with several words.
# shellcheck disable=SC2086
engine() { $PODMAN "$@"; }
# shellcheck disable=SC2086
run() { engine run --network none --read-only ${OPTIONS:-} "$@"; }

image=$(engine load --quiet --input "$1" | sed 's/.*: //')
run --rm "$image" demo --output text | tail -n 1
name=forgewatch-$$
run --detach --name "$name" --volume "$folder/forgewatch.toml:/etc/forgewatch/forgewatch.toml:ro" \
  --env FORGEWATCH_ACCESS_KEY=a --env FORGEWATCH_SECRET_KEY=b "$image" >/dev/null
until engine exec "$name" /usr/bin/forgewatch list; do
  [ "$(engine inspect --format '{{.State.Running}}' "$name")" = true ] || { engine logs "$name"; exit 1; }
done
engine stop "$name" >/dev/null
status=$(engine inspect --format '{{.State.ExitCode}}' "$name")
engine rm --volumes "$name" >/dev/null
[ "$status" = 0 ] || { echo "exit status $status" >&2; exit 1; }
