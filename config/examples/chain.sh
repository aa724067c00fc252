#!/bin/sh
# The hook of chain.toml: creates the job that follows a completed one, and adds it to the daemon.
# Usage: chain.sh KIND PROGRAM
#
# KIND is the kind of the next job. PROGRAM is yours: it creates the job that follows the one whose ID it gets, and
# prints the ID of the new job.
#
# forgewatch sets FORGEWATCH_JOB (update/77), FORGEWATCH_JOB_ID (77), FORGEWATCH_EVENT_ID and FORGEWATCH_SOCKET.
# chain.toml sets NOTES, a directory.
#
# A hook may run more than once for an event: after a failure, or when the machine crashed before forgewatch stored the
# result. So this script saves the new ID under the event's id, and `add` does not change a job that is watched or has
# ended. Only a crash between the creation of the job and the note creates a second job, unless PROGRAM detects an
# existing one.
set -eu

# `forgewatch hooks test` makes events up: no job has completed.
[ "${FORGEWATCH_TEST:-}" != true ] || exit 0

mkdir -p "$NOTES"
note="$NOTES/$FORGEWATCH_EVENT_ID"
if [ ! -e "$note" ]; then
    "$2" "$FORGEWATCH_JOB_ID" > "$note.new"
    mv "$note.new" "$note"
fi

# With an exit status other than 0 forgewatch runs the hook again.
exec forgewatch add "$1/$(cat "$note")" --label "after=$FORGEWATCH_JOB"
