#!/usr/bin/env bash
# Makes the README's pictures: what a terminal of 80 columns shows of a real `forgewatch demo`, in the middle and at the
# end. Needs tmux.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --bin forgewatch --example ansi_to_svg
tmux=(tmux -L forgewatch-picture -f /dev/null)
trap '"${tmux[@]}" kill-server 2>/dev/null || true' EXIT
TERM=xterm-256color "${tmux[@]}" new-session -d -x 80 -y 14 \
  'printf "\$ forgewatch demo\n"; target/debug/forgewatch demo; tmux wait-for -S done; sleep 60'

screen() { # FILE: the screen as it is now, without empty lines
  "${tmux[@]}" capture-pane -ep | sed -e 's/[[:space:]]*$//' -e '/^$/d' | target/debug/examples/ansi_to_svg >"$1"
}
sleep "${1:-11}"
screen docs/demo-running.svg
"${tmux[@]}" wait-for done
screen docs/demo-end.svg
