#!/bin/sh
# How qsd's speed depends on processes, batch and molecule size on this machine: builds, measures, prints Markdown.
#   bench/scaling.sh [--quick] [--rounds N] [--out FOLDER] [--help]
exec python3 "$(dirname "$0")/scaling.py" "$@"
