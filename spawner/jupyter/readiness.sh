#!/bin/sh
# How systemd learns that a user's server is ready, without a word from the user's code to systemd itself: with Type=notify, the main
# process could put off its own end for ever (EXTEND_TIMEOUT_USEC=, sd_notify(3)).
#
#   readiness.sh run PIPE PROGRAM…   becomes the program, which holds the pipe open as descriptor 9 (ExecStart=)
#   readiness.sh wait PIPE           ends when the program has written `ready` into the pipe, or has ended (ExecStartPost=)
#
# Whoever comes first makes the pipe. Its folder is the server's own, and new at each start.
task=$1 pipe=$2
shift 2
mkfifo -m 600 "$pipe" 2>/dev/null

case $task in
run)
  # It waits for the reader, who so sees the end of this process as the end of the pipe, however early that is.
  exec 9>"$pipe"
  # As systemd says it of a program that it cannot start itself (systemd.exec(5), EXIT_EXEC).
  [ -x "$1" ] || { echo "$1 is not there, or is no program" >&2; exit 203; }
  TLJH_READY=9 exec "$@"
  ;;
wait)
  read -r word <"$pipe"
  [ "$word" = ready ]
  ;;
esac
