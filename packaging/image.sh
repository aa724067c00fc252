#!/bin/sh
# Writes the context of the Containerfile into a directory.
#
#   image.sh DIRECTORY
#
#   BIN=target/x86_64-unknown-linux-musl/release/forgewatch
set -eu
cd "$(dirname "$0")/.."
BIN=${BIN:-target/x86_64-unknown-linux-musl/release/forgewatch}
mkdir -p "$1/empty"
install -s -m 755 "$BIN" "$1/forgewatch"
install -m 644 /etc/ssl/certs/ca-certificates.crt "$1/ca-certificates.crt"
