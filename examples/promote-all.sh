#!/bin/sh
# promote-all.sh LINK [TIMEOUT]: a planned move of all mirrors of a link (default: at most 300s).
#
# Stop the producers first. Each mirror goes on to where its source is now, and becomes a topic of its own; then all of
# them are compared with their sources. Exit code 0: every one is STOPPED and the same.
set -eu

link=${1:?usage: promote-all.sh LINK [TIMEOUT]}
timeout=${2:-300s}

topics=$(kmirror mirror list --link "$link" -o json | sed -n 's/^ *"mirror_topic_name": "\(.*\)",*$/\1/p')
if [ -z "$topics" ]; then
    echo "promote-all: \"$link\" has no mirrors" >&2
    exit 1
fi

kmirror mirror promote --all --link "$link" --timeout "$timeout"
# shellcheck disable=SC2086 # one word a topic
kmirror mirror verify $topics --link "$link"
kmirror mirror list --link "$link"
