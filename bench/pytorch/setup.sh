#!/bin/sh
# Makes bench/.venv with PyTorch for the baseline: 4.3 GB on disk. Needs Python 3.11 or later with venv and, for
# torch.compile, a C++ compiler.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=$here/../.venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
# --no-deps: the list is complete. Without it, pip would add Triton and CUDA's compiler, which no CPU uses.
"$venv/bin/pip" install --quiet --no-deps --requirement "$here/requirements.txt"
"$venv/bin/python" -c 'import torch; print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())'
command -v c++ >/dev/null || echo "no C++ compiler: the configurations with torch.compile will fail" >&2
