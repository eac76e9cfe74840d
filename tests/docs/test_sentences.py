"""What docs/sentences.md shows, run."""

import json
import re
import shlex

import numpy as np
import pytest
from helpers import in_process
from helpers.commands import results_of
from helpers.paths import ROOT
from helpers.shell import shell

from bert_tf.server.model import ServedModel

TEXT = (ROOT / "docs" / "sentences.md").read_text(encoding="utf-8")
TRIAL = re.search(r"### A trial\n\n((?:    .*\n)+)", TEXT)[1]
SEARCH = re.search(r"^    python -m bert_tf\.search(?:.*\\\n)*.*", TEXT, re.M)[
    0
]
CODE, PAIRS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


def test_near_duplicates_are_found(capsys):
    exec(compile(PAIRS, "sentences.md", "exec"), {})

    (pair,) = capsys.readouterr().out.splitlines()
    assert pair.endswith("  How do I lose weight?  How can I lose weight?")


@pytest.mark.exhaustive
@pytest.mark.usefixtures("graphs_as_traced")
def test_the_trial_is_trained_asked_searched_and_served(tmp_path, capsys):
    shell(TRIAL, tmp_path)

    out = tmp_path / "pairs_output"
    assert results_of(out)["eval_spearman"] == 1
    assert results_of(out, "test_eval_results.txt")["eval_spearman"] == 1
    # Exported by the command: not again.
    names = {}
    code = CODE.replace("/tmp/pairs_output", str(out), 1)
    code = code.replace("/tmp/pairs_output", str(out / "export"))
    exec(compile(code, "sentences.md", "exec"), names)
    vector = names["predict"]("A man eats.").embedding
    np.testing.assert_allclose(vector, names["u"], atol=1e-5)

    for _ in range(2):  # The second one reads the vectors of the first.
        query, best, *_ = shell(SEARCH, tmp_path).splitlines()
        assert query == "Somebody is eating." and "line 2: A man eats" in best
    assert (out / "lines.npz").exists()

    model = ServedModel(str(out / "export" / "1"), 1)
    with in_process.answering(model) as server:
        for path, body in re.findall(
            r"    curl localhost:8501(\S+) (-d '\{[^']*)'", TEXT
        ):
            asked = json.loads(shlex.split(body + "'")[1])
            status, _, found = server.ask(path, {**asked, "model": "model"})
            assert status == 200
            if path == "/v1/rerank":
                (one,) = found["results"]
                assert one["index"] == 0
            else:
                first = found["data"][0]["embedding"]
                np.testing.assert_allclose(first, vector, atol=1e-6)
