# Makes .venv with the locked packages. Sourced by the other scripts; leaves
# $PYTHON, the interpreter to use.
#
# BERT_TF_VENV names another folder for the environment, BERT_TF_LOCK another
# list of packages, BERT_TF_BASE an environment whose packages are seen in it: only
# what that lacks, or has in another version, is installed.
# How requirements.lock is made (what is locked stays as it is):
#   uv pip compile --universal --python-version 3.11 --generate-hashes \
#     --no-header --extra dev --extra serving setup.py -o requirements.lock

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${BERT_TF_VENV:-$repository/.venv}"
PYTHON="$venv/bin/python"
lock="$repository/${BERT_TF_LOCK:-requirements.lock}"

# Where byte code is not written, each process compiles all of it again.
unset PYTHONDONTWRITEBYTECODE

supported='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'

find_python() {
    local name
    for name in python3 python3.11 python3.12 python3.13; do
        if command -v "$name" > /dev/null && "$name" -c "$supported" 2> /dev/null
        then
            echo "$name"
            return
        fi
    done
    echo "bert_tf needs Python 3.11, 3.12 or 3.13; none is on the PATH." >&2
    return 1
}

base="${BERT_TF_BASE:-}"

# Of the base and of the environment itself.
locks() { cat ${base:+"$base/installed.lock"} "$lock"; }

# Makes Python find the packages of the base after its own.
see_base() {
    local packages='import sysconfig; print(sysconfig.get_path("purelib"))'
    echo "import site; site.addsitedir('$("$base/bin/python" -c "$packages")')" \
        > "$("$PYTHON" -c "$packages")/base.pth"
}

if ! locks | cmp -s - "$venv/installed.lock"; then
    python="$(find_python)" || exit 1
    echo "Installing the packages of $(basename "$lock") into $venv" \
        "(up to 2.5 GB; a few minutes)" >&2
    mkdir -p "$(dirname "$venv")"
    free_before="$(df -Ph "$(dirname "$venv")" | awk 'NR == 2 {print $4}')"
    quiet="--quiet --disable-pip-version-check"
    {
        "$python" -m venv "$venv" &&
            { [ -z "$base" ] || see_base; } &&
            "$PYTHON" -m pip install $quiet \
                --require-hashes --requirement "$lock" &&
            "$PYTHON" -m pip install $quiet \
                --no-deps --no-build-isolation --editable "$repository"
    } || {
        echo "Installing into $venv failed, for the reason above. It takes up" \
            "to 2.5 GB there ($free_before were free before) and, while it" \
            "goes on, 1 GB in ${TMPDIR:-/tmp}. The same command tries again." >&2
        exit 1
    }
    locks > "$venv/installed.lock"
fi
