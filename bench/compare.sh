#!/bin/sh
# Compares qsd's CPU engine with PyTorch on this machine: builds, measures in turn, prints Markdown tables.
#   bench/compare.sh [--quick] [--rounds N] [--only WORDS] [--out FOLDER] [--help]
exec python3 "$(dirname "$0")/compare.py" "$@"
