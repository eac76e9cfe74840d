#!/usr/bin/env bash
# Makes an environment without TensorFlow and asks models there: from Python, and
# from a server. Prints its size and how long a process takes to its first answer,
# beside one with TensorFlow. Arguments go to pytest.
#
# The environment is .venv-onnx, or what BERT_TF_ONNX_VENV names. How its lock is
# made:
#   printf '%s\n' 'absl-py>=2.1' 'numpy>=2.0,<3' 'onnxruntime>=1.22,<2' \
#     'prometheus-client>=0.20,<1' 'rich>=13' 'setuptools>=77' \
#     'starlette>=1.0,<2' 'uvicorn>=0.54,<1' |
#     uv pip compile --universal --python-version 3.11 --generate-hashes \
#     --no-header --constraint requirements.lock - -o requirements-onnx.lock
set -euo pipefail
cd "$(dirname "$0")/.."
export BERT_TF_ONNX_PYTHON
BERT_TF_ONNX_PYTHON="$(
    BERT_TF_VENV="${BERT_TF_ONNX_VENV:-$PWD/.venv-onnx}"
    BERT_TF_LOCK=requirements-onnx.lock
    source run_scripts/setup.sh
    echo "$PYTHON"
)"
source run_scripts/setup.sh
du --human-readable --summarize "${BERT_TF_ONNX_PYTHON%/bin/python}"
exec "$PYTHON" -m pytest --capture=no -m "" -k without_tensorflow \
    tests/exports/test_onnx.py "$@"
