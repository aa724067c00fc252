#!/bin/sh
# The hook of chain.toml: an image update has completed, so creates the image diff that follows and has it watched.
#
# forgewatch sets FORGEWATCH_JOB (update/77), FORGEWATCH_JOB_ID (77), FORGEWATCH_EVENT_ID and FORGEWATCH_SOCKET. From
# chain.toml come CREATE_DIFF, a program of yours that creates the diff after the update it is given and prints the
# diff's number, and NOTES, a folder.
#
# A hook may run more than once for one event: after a failure, or when the machine went down before forgewatch knew
# that it was done. So it notes under the event's id what it has created, and `add` changes nothing where a job is
# watched already or has ended. Only a crash between the diff's creation and the note makes a second diff; if your
# CREATE_DIFF can tell that there is one already, not even that.
set -eu

mkdir -p "$NOTES"
note="$NOTES/$FORGEWATCH_EVENT_ID"
if [ ! -e "$note" ]; then
    "$CREATE_DIFF" "$FORGEWATCH_JOB_ID" > "$note.new"
    mv "$note.new" "$note"
fi

# Exit status 0 is what tells forgewatch that this is done; with any other it tries again.
exec forgewatch add "diff/$(cat "$note")" --label "after=$FORGEWATCH_JOB"
