#!/bin/sh
# Writes the context of the Containerfile into a directory.
#
#   image.sh DIRECTORY
set -eu
cd "$(dirname "$0")/.."
mkdir -p "$1/empty"
install -s -m 755 target/x86_64-unknown-linux-musl/release/forgewatch "$1/forgewatch"
install -m 644 /etc/ssl/certs/ca-certificates.crt "$1/ca-certificates.crt"
