#!/usr/bin/env bash
# torch-env.sh: makes build/torch-env, a Python environment with PyTorch and transformers from PyPI (some gigabytes: PyPI's PyTorch brings CUDA's libraries
# along), once; in it, in transformers-4, the last of transformers' versions 4 that has both forms of Mamba, which goes another way to its kernels. Python:
# $PYTHON, else python3.
set -eu
cd "$(dirname "$0")/.."
env=build/torch-env
[ -f "$env/complete" ] && exit 0
rm -rf "$env"
mkdir -p build
echo "installing PyTorch and transformers into $env"
"${PYTHON:-python3}" -m venv "$env"
"$env/bin/pip" -q install torch transformers numpy pytest mypy matplotlib nbclient ipykernel nbformat PyYAML
"$env/bin/pip" -q install --no-warn-conflicts --target "$env/transformers-4" --no-deps 'transformers==4.46.3' 'tokenizers<0.21' 'huggingface_hub<1' \
    requests charset_normalizer urllib3 idna certifi
touch "$env/complete"
