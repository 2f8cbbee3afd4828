#!/bin/sh
# failover-drill.sh LINK SOURCE_TOPIC: rehearses a failover, and touches no mirror that is in use.
#
# A second mirror of the topic is made under another name, filled, failed over and compared with the source. Exit code 0
# says that it worked. The topic of the drill stays at the destination, for you to look at and to delete.
# SECONDS_TO_FILL: how long filling it may take (default 600).
set -eu

link=${1:?usage: failover-drill.sh LINK SOURCE_TOPIC}
topic=${2:?usage: failover-drill.sh LINK SOURCE_TOPIC}
drill="drill-$(date -u +%Y%m%d-%H%M%S)-$topic"
left=${SECONDS_TO_FILL:-600}

# Records that the mirror lacks, of all partitions; empty while a partition has not told.
lag() {
    kmirror mirror describe "$drill" --link "$link" -o json |
        sed -n 's/^ *"partition_mirror_lag": \(-*[0-9]*\),*$/\1/p' |
        awk '$1 < 0 { unknown = 1 } { sum += $1 } END { if (NR && !unknown) print sum }'
}

kmirror mirror create "$drill" --source-topic "$topic" --link "$link"
until [ "$(lag)" = 0 ]; do
    left=$((left - 1))
    if [ "$left" -le 0 ]; then
        echo "failover-drill: \"$drill\" is not filled" >&2
        exit 4
    fi
    sleep 1
done

began=$(date +%s)
kmirror mirror failover "$drill" --link "$link"
echo "Failed over in $(($(date +%s) - began)) s."
kmirror mirror verify "$drill" --link "$link"
echo "The drill worked. \"$drill\" is a topic of its own now: delete it when you have seen enough."
