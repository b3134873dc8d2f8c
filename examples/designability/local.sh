#!/usr/bin/env bash
# Designability by ProteinMPNN and ESMFold on this machine, one ESMFold per GPU:
#
#     examples/designability/local.sh designability/ samples/
#
# PYTHON is one that has the packages of docs/designability.md. GPUS is their number (default 1).
set -euo pipefail
out=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
gpus=${GPUS:-1}

# `env` gives each of the commands that run at the same time a GPU of its own. There is no shell in between: what belongs to
# one word is quoted here.
exec qsd-eval designability --out "$out" --jobs "$gpus" \
    --inverse-folding "env CUDA_VISIBLE_DEVICES={job} '$python' '$here/run_proteinmpnn.py' {inputs} {outputs} --num {num} --seed {seed}" \
    --folding "env CUDA_VISIBLE_DEVICES={job} '$python' '$here/run_esmfold.py' {inputs} {outputs}" \
    "$@"
