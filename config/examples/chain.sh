#!/bin/sh
# The hook of chain.toml: creates the image diff that follows a completed image update, and adds it to the daemon.
#
# forgewatch sets FORGEWATCH_JOB (update/77), FORGEWATCH_JOB_ID (77), FORGEWATCH_EVENT_ID and FORGEWATCH_SOCKET.
# chain.toml sets CREATE_DIFF, your program that creates the diff for an update and prints the ID of the diff, and
# NOTES, a directory.
#
# A hook may run more than once for an event: after a failure, or when the machine crashed before forgewatch stored the
# result. So this script saves the diff under the event's id, and `add` does not change a job that is watched or has
# ended. Only a crash between the creation of the diff and the note creates a second diff, unless your CREATE_DIFF
# detects an existing one.
set -eu

mkdir -p "$NOTES"
note="$NOTES/$FORGEWATCH_EVENT_ID"
if [ ! -e "$note" ]; then
    "$CREATE_DIFF" "$FORGEWATCH_JOB_ID" > "$note.new"
    mv "$note.new" "$note"
fi

# With an exit status other than 0 forgewatch runs the hook again.
exec forgewatch add "diff/$(cat "$note")" --label "after=$FORGEWATCH_JOB"
