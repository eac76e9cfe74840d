#!/usr/bin/env bash
# Runs the tests that need Apache Beam; arguments go to pytest.
#
# They have an environment of their own, .venv-beam or what BERT_TF_BEAM_VENV
# names, on top of the usual one: Beam needs twenty packages that nothing else
# here does, and an older protobuf. How its lock is made:
#   echo pytest | uv pip compile --universal --generate-hashes --no-header \
#     --extra beam setup.py - -o requirements-beam.lock
set -euo pipefail
cd "$(dirname "$0")/.."
source run_scripts/setup.sh
BERT_TF_BASE="$venv"
BERT_TF_VENV="${BERT_TF_BEAM_VENV:-$PWD/.venv-beam}"
BERT_TF_LOCK=requirements-beam.lock
source run_scripts/setup.sh
exec "$PYTHON" -m pytest tests/commands/test_beam_pretraining_data.py "$@"
