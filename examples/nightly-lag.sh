#!/bin/sh
# nightly-lag.sh LINK [MAX]: is every mirror of a link alive, and no further behind than MAX (default 30s)?
#
# For cron: silent and exit code 0 while all is well. Else a line a mirror on stderr, and exit code 4 where mirrors are
# too late, 1 where one is not ACTIVE or could not be asked. Mirrors that were promoted or failed over are left out.
set -eu

link=${1:?usage: nightly-lag.sh LINK [MAX]}
max=${2:-30s}
worst=0

mirrors=$(kmirror mirror list --link "$link" -o json)
topics=$(printf '%s\n' "$mirrors" | sed -n 's/^ *"mirror_topic_name": "\(.*\)",*$/\1/p')
states=$(printf '%s\n' "$mirrors" | sed -n 's/^ *"mirror_status": "\(.*\)",*$/\1/p')

set -- $states # in the order of the topics
for topic in $topics; do
    state=$1
    shift
    case $state in
    STOPPED) continue ;;
    ACTIVE) ;;
    *)
        echo "nightly-lag: $topic is $state" >&2
        worst=1
        continue
        ;;
    esac
    code=0
    kmirror mirror describe "$topic" --link "$link" --max-lag "$max" >/dev/null || code=$?
    if [ "$code" = 4 ]; then
        echo "nightly-lag: $topic is more than $max behind" >&2
        [ "$worst" = 1 ] || worst=4
    elif [ "$code" != 0 ]; then
        echo "nightly-lag: $topic could not be asked (exit code $code)" >&2
        worst=1
    fi
done
exit "$worst"
