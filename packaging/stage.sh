#!/bin/sh
# Writes everything that a package installs into a directory: what install.sh installs, stripped and compressed, and the
# documents that distributions require. The packages take the directory as it is.
#
#   stage.sh DIRECTORY
#
#   BIN=target/release/forgewatch
set -eu
cd "$(dirname "$0")/.."
stage=$(mkdir -p "$1" && cd "$1" && pwd)
doc=$stage/usr/share/doc/forgewatch
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The same commit gives the same package.
date=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

rm -rf "$stage"
umask 022
DESTDIR=$stage PREFIX=/usr systemd/install.sh install
strip --strip-unneeded "$stage/usr/bin/forgewatch"
gzip -9n "$stage"/usr/share/man/man*/*
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
gzip -9nc >"$doc/changelog.Debian.gz" <<CHANGELOG
forgewatch ($version-1) unstable; urgency=medium

  * Version $version. changelog.gz lists the changes.

 -- forgewatch developers <forgewatch@users.noreply.github.com>  $(LC_ALL=C date -Rud "@$date")
CHANGELOG
install -D -m 644 packaging/debian/lintian-overrides "$stage/usr/share/lintian/overrides/forgewatch"
find "$stage" -exec touch -hd "@$date" {} +
