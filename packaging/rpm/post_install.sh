# $1 is the number of installed versions.
if command -v systemd-sysusers >/dev/null; then
  systemd-sysusers forgewatch.conf || :
fi
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload >/dev/null 2>&1 || :
  # An upgrade: a running daemon continues as the new version. A new installation is neither enabled nor started, as it
  # needs an account and a credential first.
  if [ "$1" -ge 2 ]; then
    systemctl try-restart forgewatch.service >/dev/null 2>&1 || :
  fi
fi
