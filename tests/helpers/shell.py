"""Runs the commands of a page."""

import re
import subprocess

from helpers import prepared
from helpers.paths import ROOT


def shell(commands, folder):
    """Runs indented commands, with a folder for /tmp; returns their stdout."""
    commands = re.sub("^    ", "", commands, flags=re.M)
    commands = commands.replace("/tmp/", f"{folder}/")
    commands = commands.replace("python -m", f"{prepared.python()} -m")
    done = subprocess.run(
        ["bash", "-ec", commands],
        env=prepared.environment(),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
