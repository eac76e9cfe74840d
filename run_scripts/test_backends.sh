#!/usr/bin/env bash
# Compares the model under JAX with the same under TensorFlow; arguments go to
# pytest.
#
# JAX has an environment of its own, .venv-jax or what BERT_TF_JAX_VENV names,
# without TensorFlow. How its lock is made:
#   printf '%s\n' 'jax>=0.10' 'keras>=3.12,<4' 'absl-py>=2.1' 'setuptools>=77' |
#     uv pip compile --universal --python-version 3.11 --generate-hashes \
#     --no-header - -o requirements-jax.lock
# For PyTorch, name a Python that has it and Keras: BERT_TF_TORCH_PYTHON=...
set -euo pipefail
cd "$(dirname "$0")/.."
export BERT_TF_JAX_PYTHON
BERT_TF_JAX_PYTHON="$(
    BERT_TF_VENV="${BERT_TF_JAX_VENV:-$PWD/.venv-jax}"
    BERT_TF_LOCK=requirements-jax.lock
    source run_scripts/setup.sh
    echo "$PYTHON"
)"
source run_scripts/setup.sh
exec "$PYTHON" -m pytest tests/test_backends.py "$@"
