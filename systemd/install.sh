#!/bin/sh
# Installs or uninstalls forgewatch on a machine with systemd: `just install`, `just uninstall`.
#
#   install.sh install|uninstall
#
#   PREFIX=/usr     the installation prefix; the unit's paths are adjusted
#   DESTDIR=        a staging directory for packages: nothing outside it is changed
#   BIN=target/release/forgewatch
set -eu
cd "$(dirname "$0")/.."
PREFIX=${PREFIX:-/usr}
DESTDIR=${DESTDIR:-}
BIN=${BIN:-target/release/forgewatch}

bin=$DESTDIR$PREFIX/bin/forgewatch
unit=$DESTDIR$PREFIX/lib/systemd/system/forgewatch.service
sysusers=$DESTDIR$PREFIX/lib/sysusers.d/forgewatch.conf
doc=$DESTDIR$PREFIX/share/doc/forgewatch
man=$DESTDIR$PREFIX/share/man
bash=$DESTDIR$PREFIX/share/bash-completion/completions/forgewatch
zsh=$DESTDIR$PREFIX/share/zsh/site-functions/_forgewatch
catalog=$DESTDIR$PREFIX/lib/systemd/catalog/forgewatch.catalog
fish=$DESTDIR$PREFIX/share/fish/vendor_completions.d/forgewatch.fish
etc=$DESTDIR/etc/forgewatch

# Whether this installs on the running system, not into a package.
live() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

install_all() {
  [ -x "$BIN" ] || {
    echo "install.sh: $BIN not found; build it with: cargo build --release --locked" >&2
    exit 1
  }
  install -D -m 755 "$BIN" "$bin"
  install -d -m 755 "${unit%/*}" "${sysusers%/*}" "$doc" "$man/man1" "$man/man5" "$man/man7" "${bash%/*}" "${zsh%/*}" "${fish%/*}" "${catalog%/*}" "$etc"
  sed "s|/usr/bin/forgewatch|$PREFIX/bin/forgewatch|" systemd/forgewatch.service >"$unit"
  install -m 644 systemd/forgewatch.sysusers "$sysusers"
  install -m 644 systemd/forgewatch.catalog "$catalog"
  install -m 644 systemd/hooks-that-need-more.conf config/forgewatch.toml "$doc"
  "$bin" completions bash >"$bash"
  "$bin" completions zsh >"$zsh"
  "$bin" completions fish >"$fish"
  pages=$(mktemp -d)
  trap 'rm -rf "$pages"' EXIT
  "$bin" man "$pages"
  install -m 644 "$pages"/*.1 "$man/man1"
  install -m 644 "$pages"/*.5 "$man/man5"
  install -m 644 "$pages"/*.7 "$man/man7"
  chmod 644 "$unit" "$bash" "$zsh" "$fish"
  # Keep an existing configuration.
  [ -e "$etc/forgewatch.toml" ] || install -m 644 config/forgewatch.toml "$etc/forgewatch.toml"
  if live; then
    systemd-sysusers "$sysusers"
    journalctl --update-catalog
    systemctl daemon-reload
  fi
}

uninstall_all() {
  if live; then
    systemctl disable --now forgewatch.service 2>/dev/null || true
  fi
  rm -f "$bin" "$unit" "$sysusers" "$bash" "$zsh" "$fish" "$catalog" "$man"/man1/forgewatch.1 "$man"/man1/forgewatch-*.1 \
    "$man"/man5/forgewatch.toml.5 "$man"/man7/forgewatch-events.7 "$man"/man7/forgewatch-hooks.7 "$doc"/hooks-that-need-more.conf "$doc"/forgewatch.toml
  rmdir "$doc" 2>/dev/null || true
  if live; then
    journalctl --update-catalog
    systemctl daemon-reload
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
