#!/usr/bin/env bash
# Installs what is needed and runs the tests; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source run_scripts/setup.sh
exec "$PYTHON" -m pytest --numprocesses 2 "$@"
