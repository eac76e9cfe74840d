#!/usr/bin/env bash
# Asks exported models in an environment that has only TensorFlow, and prints how
# far the numbers are from those of the Python models, and from those that the same
# SavedModels give in the usual environment. Fails above 1e-6.
#
#   run_scripts/test_serving_alone.sh [FOLDER]
#
# FOLDER becomes that environment; otherwise it is .venv-tensorflow. TensorFlow
# has the version of requirements.lock, and pip chooses what belongs to it.
set -euo pipefail
folder="$(realpath -m "${1:-"$(dirname "$0")/../.venv-tensorflow"}")"
cd "$(dirname "$0")/.."
source run_scripts/setup.sh
package="$(grep --only-matching '^tensorflow==[0-9.]*' requirements.lock)"
if [[ "$(cat "$folder/installed.txt" 2> /dev/null)" != "$package" ]]; then
    echo "Installing $package into $folder" >&2
    "$PYTHON" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
        "$package"
    echo "$package" > "$folder/installed.txt"
fi
BERT_TF_TENSORFLOW_PYTHON="$folder/bin/python" exec "$PYTHON" -m pytest \
    --capture=no -m "" -k only_tensorflow tests/exports/test_export.py
