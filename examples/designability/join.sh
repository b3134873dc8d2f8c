#!/usr/bin/env bash
# Joins what the tasks of array.sbatch have made, and reports on all samples; computes only what is missing, on this machine.
#
#     examples/designability/join.sh designability/ samples/
set -euo pipefail
out=$1
samples=$2
here=$(cd "$(dirname "$0")" && pwd -P)

# Files are named by what they depend on, so that those of all parts fit together.
mkdir -p "$out/sequences" "$out/structures"
for kind in sequences structures; do
    find "$out"/parts/*/"$kind" -type f \( -name '*.fasta' -o -name '*.fa' -o -name '*.pdb' -o -name '*.cif' \) \
        -exec cp -n -t "$out/$kind" {} +
done
source "$here/commands.sh"
exec qsd-eval designability --out "$out" --inverse-folding "$inverse_folding" --folding "$folding" "$samples"
