#!/usr/bin/env bash
# Installs what is needed and runs the tests; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source run_scripts/setup.sh
# Workers start with a part of the tests each, in order, so that few fixtures are
# set up twice. Three keep two cores busy: a test often waits for a process.
exec "$PYTHON" -m pytest --numprocesses 3 --dist worksteal "$@"
