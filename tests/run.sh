#!/usr/bin/env bash
# Passes every test: installs what is missing, builds once, runs unit, oracle, property and black-box tests,
# the last of them with real processes under mpirun. Arguments go to `cargo test`, e.g. `tests/run.sh oracle`.
set -euo pipefail
cd "$(dirname "$0")/.."
launch/setup.sh --python
export QSD_PYTHON="$PWD/.venv/bin/python"
exec cargo test --release --no-fail-fast "$@"
