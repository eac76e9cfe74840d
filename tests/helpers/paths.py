"""Where the repository and what the original wrote are."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
# Names the folder for the exports of this run of the tests (conftest.py).
EXPORTS_VARIABLE = "BERT_TF_TEST_EXPORTS"
