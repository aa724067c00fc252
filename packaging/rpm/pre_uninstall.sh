# $1 is the number of versions that stay installed. State and configuration stay as well.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
  systemctl --no-reload disable --now forgewatch.service >/dev/null 2>&1 || :
fi
