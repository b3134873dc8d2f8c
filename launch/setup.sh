#!/usr/bin/env bash
# Installs what qsd needs on a Debian machine and what is missing there; does nothing where all is present.
#   launch/setup.sh            what building and running need: a C toolchain, Open MPI, libclang
#   launch/setup.sh --python   also .venv/ with the Python packages that data preparation and the tests use
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(build-essential libopenmpi-dev openmpi-bin libclang-dev)
[[ "${1:-}" == --python ]] && packages+=(python3 python3-venv)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
    echo "installing: ${missing[*]}"
    as_root=()
    ((EUID == 0)) || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

command -v cargo >/dev/null || {
    echo "error: no Rust toolchain found (cargo is not on the PATH); install one from https://rustup.rs" >&2
    exit 1
}

if [[ "${1:-}" == --python ]] && ! cmp -s data/requirements.txt .venv/requirements.txt; then
    echo "making .venv with the packages of data/requirements.txt"
    python3 -m venv .venv
    .venv/bin/pip install -q --disable-pip-version-check -r data/requirements.txt
    cp data/requirements.txt .venv/requirements.txt
fi
