#!/usr/bin/env bash
# torch-env.sh: makes build/torch-env, a Python environment with PyTorch and transformers from PyPI (some gigabytes: PyPI's PyTorch brings CUDA's libraries
# along), once. Python: $PYTHON, else python3.
set -eu
cd "$(dirname "$0")/.."
env=build/torch-env
[ -f "$env/complete" ] && exit 0
rm -rf "$env"
mkdir -p build
echo "installing PyTorch and transformers into $env"
"${PYTHON:-python3}" -m venv "$env"
"$env/bin/pip" -q install torch transformers numpy pytest mypy matplotlib nbclient ipykernel nbformat PyYAML
touch "$env/complete"
