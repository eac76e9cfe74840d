"""The notebook that one opens first, its cells run one after the other."""

import json
import os
import re
import subprocess

import pytest
from helpers import prepared
from helpers.paths import ROOT

NOTEBOOK = ROOT / "docs" / "first_steps.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]

# Jupyter itself is not among the tests' packages.
DISPLAY = """
class SVG:
    def __init__(self, filename):
        self.start = open(filename).read(4)

def display(picture):
    print("a picture:", picture.start)
"""


def test_the_notebook_has_no_outputs_and_its_links_lead_somewhere():
    for cell in CELLS:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            continue
        for link in re.findall(r"\]\(([^)#\s]+)", source):
            assert (NOTEBOOK.parent / link).exists(), link


@pytest.mark.slow
@pytest.mark.usefixtures("graphs_as_traced")
def test_the_cells_run_and_the_model_has_learnt(tmp_path):
    (tmp_path / "IPython").mkdir()
    (tmp_path / "IPython" / "display.py").write_text(DISPLAY)
    sources = [c["source"] for c in CELLS if c["cell_type"] == "code"]
    code = "\n\n".join("".join(source) for source in sources)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])

    done = prepared.run(
        ["-c", code],
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        cwd=NOTEBOOK.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    print(done.stdout)
    assert done.returncode == 0
    assert "a picture: <svg" in done.stdout
    f1 = re.findall(r"^\w+ +[01]\.\d+ +\S+ +(\S+) +50$", done.stdout, re.M)
    assert len(f1) == 2 and min(map(float, f1)) > 0.7
    assert re.findall(r"^(\w+) 0\.", done.stdout, re.M) == [
        "positive",
        "negative",
    ]
