#!/bin/sh
# mirror-prefix.sh LINK PREFIX: a mirror of each topic of the source cluster whose name begins with PREFIX.
#
# Shows what it would do first; topics that are mirrors already are left as they are, so it may run again and again.
set -eu

link=${1:?usage: mirror-prefix.sh LINK PREFIX}
prefix=${2:?usage: mirror-prefix.sh LINK PREFIX}
pattern="$(printf '%s' "$prefix" | sed 's/\./\\./g').*" # of the characters of a topic's name only the dot means more

kmirror mirror create --all-matching "$pattern" --link "$link" --dry-run
kmirror mirror create --all-matching "$pattern" --link "$link"
kmirror mirror list --link "$link"
