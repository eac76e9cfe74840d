#!/usr/bin/env bash
# Installs what is needed and runs the tests; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source run_scripts/setup.sh
# Workers start with half of the tests each, in order, so that few fixtures are
# set up by both.
exec "$PYTHON" -m pytest --numprocesses 2 --dist worksteal "$@"
