#!/bin/sh
# Installs or uninstalls forgewatch on a machine with systemd: `just install`, `just uninstall`.
#
#   install.sh install|uninstall
#
#   PREFIX=/usr     the installation prefix; the units' paths are adjusted
#   DESTDIR=        a staging directory for packages: nothing outside it is changed
#   BIN=            default: ./forgewatch, as in a release, or target/release/forgewatch
set -eu
cd "$(dirname "$0")/.."
PREFIX=${PREFIX:-/usr}
DESTDIR=${DESTDIR:-}
[ -x forgewatch ] && built=forgewatch || built=target/release/forgewatch
BIN=${BIN:-$built}

usr=$DESTDIR$PREFIX
bin=$usr/bin/forgewatch
doc=$usr/share/doc/forgewatch
man=$usr/share/man
etc=$DESTDIR/etc/forgewatch

# Whether this installs on the running system, not into a package.
live() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

# Calls $1 with source and destination of every file that is copied as it is.
each_file() {
  "$1" systemd/forgewatch.sysusers "$usr/lib/sysusers.d/forgewatch.conf"
  "$1" systemd/forgewatch.catalog "$usr/lib/systemd/catalog/forgewatch.catalog"
  for file in systemd/hooks-that-need-more.conf config/*.toml config/*/*; do
    "$1" "$file" "$doc/${file#*/}"
  done
}

# Calls $1 with every unit and its destination.
each_unit() {
  "$1" systemd/forgewatch.service "$usr/lib/systemd/system/forgewatch.service"
  "$1" systemd/user/forgewatch.service "$usr/lib/systemd/user/forgewatch.service"
}

# Calls $1 with every shell and the destination of its completions.
each_shell() {
  "$1" bash "$usr/share/bash-completion/completions/forgewatch"
  "$1" zsh "$usr/share/zsh/site-functions/_forgewatch"
  "$1" fish "$usr/share/fish/vendor_completions.d/forgewatch.fish"
}

copy() {
  install -D -m 644 "$1" "$2"
}

copy_unit() {
  install -d -m 755 "${2%/*}"
  sed "s|/usr/bin/forgewatch|$PREFIX/bin/forgewatch|" "$1" >"$2"
  chmod 644 "$2"
}

write_completions() {
  install -d -m 755 "${2%/*}"
  "$bin" completions "$1" >"$2"
  chmod 644 "$2"
}

write_pages() {
  pages=$(mktemp -d)
  trap 'rm -rf "$pages"' EXIT
  "$bin" man "$pages"
  for page in "$pages"/*; do
    install -D -m 644 "$page" "$man/man${page##*.}/${page##*/}"
  done
}

remove() {
  rm -f "$2"
}

install_all() {
  [ -x "$BIN" ] || {
    echo "install.sh: $BIN not found; build it with: cargo build --release --locked" >&2
    exit 1
  }
  install -D -m 755 "$BIN" "$bin"
  each_file copy
  each_unit copy_unit
  each_shell write_completions
  write_pages
  # Keep an existing configuration.
  [ -e "$etc/forgewatch.toml" ] || install -D -m 644 config/forgewatch.toml "$etc/forgewatch.toml"
  if live; then
    systemd-sysusers "$usr/lib/sysusers.d/forgewatch.conf"
    systemctl daemon-reload
    journalctl --update-catalog
  fi
}

uninstall_all() {
  if live; then
    systemctl disable --now forgewatch.service 2>/dev/null || true
  fi
  each_file remove
  each_unit remove
  each_shell remove
  rm -f "$bin" "$man"/man[1-8]/forgewatch.* "$man"/man[1-8]/forgewatch-*
  for folder in "$doc"/* "$doc"; do
    rmdir "$folder" 2>/dev/null || true
  done
  if live; then
    systemctl daemon-reload
    journalctl --update-catalog
  fi
  echo "kept: $etc, $DESTDIR/var/lib/private/forgewatch and the group forgewatch-ops"
}

case ${1:-} in
  install) install_all ;;
  uninstall) uninstall_all ;;
  *)
    echo "usage: install.sh install|uninstall, with PREFIX, DESTDIR and BIN from the environment" >&2
    exit 2
    ;;
esac
