"""Files for GLUE's server, and the archive of them."""

import os
import zipfile

import pytest

from bert_tf import glue_submission
from bert_tf.errors import InputError
from bert_tf.tasks.classification import submission
from bert_tf.tasks.classification.data import Submission

COUNTS = {
    "AX.tsv": 1104,
    "CoLA.tsv": 1063,
    "MNLI-m.tsv": 9796,
    "MNLI-mm.tsv": 9847,
    "MRPC.tsv": 1725,
    "QNLI.tsv": 5463,
    "QQP.tsv": 390965,
    "RTE.tsv": 3000,
    "SST-2.tsv": 1821,
    "STS-B.tsv": 1379,
    "WNLI.tsv": 146,
}


def test_rows_have_the_index_of_the_test_file(tmp_path):
    wanted = Submission("RTE.tsv", ["3", "0"])
    submission.write(str(tmp_path), wanted, ["entailment", "not_entailment"])
    text = (tmp_path / "RTE.tsv").read_text()
    assert text == "index\tprediction\n3\tentailment\n0\tnot_entailment\n"


def test_an_archive_has_the_eleven_files_of_glue():
    assert dict(glue_submission.wanted_files()) == COUNTS


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Folders of runs with all files; QQP in miniature."""
    monkeypatch.setattr(
        glue_submission,
        "wanted_files",
        lambda: [
            submission.SubmissionFile(name, min(count, 3000))
            for name, count in COUNTS.items()
        ],
    )
    folders = []
    for at, (name, count) in enumerate(COUNTS.items()):
        folder = tmp_path / f"run{at % 9}"
        folder.mkdir(exist_ok=True)
        rows = [f"{index}\t0\n" for index in range(min(count, 3000))]
        (folder / name).write_text("index\tprediction\n" + "".join(rows))
        folders.append(str(folder))
    return list(dict.fromkeys(folders))


class Flags:
    def __init__(self, runs, output):
        self.runs, self.output = ",".join(runs), str(output)


def test_all_files_are_packed_into_the_root(runs, tmp_path, capsys):
    output = tmp_path / "submission.zip"
    glue_submission.main(Flags(runs, output))
    with zipfile.ZipFile(output) as archive:
        assert sorted(archive.namelist()) == sorted(COUNTS)
        text = archive.read("WNLI.tsv").decode()
    assert text.startswith("index\tprediction\n0\t0\n1\t0\n")
    assert "11 files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "facts"),
    [
        (lambda path: path.unlink(), ("AX.tsv is in none of",)),
        (
            lambda path: path.write_text(path.read_text() + "1104\t0\n"),
            ("AX.tsv has 1105 rows", "1104"),
        ),
        (
            lambda path: path.write_text(path.read_text()[6:]),
            ("AX.tsv, line 1", "prediction"),
        ),
        (
            lambda path: path.write_text(
                path.read_text().replace("\n7\t0\n", "\n7\n")
            ),
            ("AX.tsv, line 9", "'7'"),
        ),
        (
            lambda path: (path.parent.parent / "run1" / "AX.tsv").write_text(
                path.read_text()
            ),
            ("AX.tsv is there twice",),
        ),
    ],
)
def test_a_bad_file_is_named_and_no_archive_is_left(
    runs, tmp_path, spoil, facts
):
    spoil(tmp_path / "run0" / "AX.tsv")
    output = tmp_path / "submission.zip"
    with pytest.raises(InputError) as caught:
        glue_submission.main(Flags(runs, output))
    for fact in facts:
        assert fact in str(caught.value)
    assert not [name for name in os.listdir(tmp_path) if "zip" in name]


def test_an_older_archive_goes_and_another_file_stays(runs, tmp_path):
    output = tmp_path / "submission.zip"
    glue_submission.main(Flags(runs, output))
    (tmp_path / "run0" / "AX.tsv").unlink()
    with pytest.raises(InputError, match=r"AX\.tsv(.|\n)*earlier.*removed"):
        glue_submission.main(Flags(runs, output))
    assert not output.exists()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("thesis.txt", "x")
    with pytest.raises(InputError):
        glue_submission.main(Flags(runs, output))
    assert output.exists()


@pytest.mark.parametrize(
    ("runs", "output", "fact"),
    [
        (["nowhere"], "a.zip", "no 'nowhere'"),
        (["."], "a.tar", r"\.zip.*a\.tar"),
    ],
)
def test_bad_flags_are_named(runs, output, fact):
    with pytest.raises(InputError, match=fact):
        glue_submission.main(Flags(runs, output))
