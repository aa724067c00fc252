#!/usr/bin/env bash
# Puts the picture into README.md: what a terminal of 80 columns shows of a real `forgewatch demo`, in the middle and
# at the end. Needs tmux.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet
tmux=(tmux -L forgewatch-picture -f /dev/null)
trap '"${tmux[@]}" kill-server 2>/dev/null || true' EXIT
"${tmux[@]}" new-session -d -x 80 -y 14 'printf "\$ forgewatch demo\n"; target/debug/forgewatch demo; tmux wait-for -S done; sleep 60'
sleep "${1:-11}"
middle=$("${tmux[@]}" capture-pane -p | sed -e 's/[[:space:]]*$//' -e '/^$/d')
"${tmux[@]}" wait-for done
end=$("${tmux[@]}" capture-pane -p | sed -e 's/[[:space:]]*$//' -e '/^$/d' -e 1d)

PICTURE=$(printf '```text\n%s\n```\n\nSix seconds later:\n\n```text\n%s\n```' "$middle" "$end") \
  awk '/<!-- picture -->/ { print; print ENVIRON["PICTURE"]; skip = 1 }
       /<!-- end of picture -->/ { skip = 0 }
       !skip' README.md >README.md.new
mv README.md.new README.md
