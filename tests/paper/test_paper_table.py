"""Numbers and lines of a table."""

import numpy as np
import paper_table
import pytest
import table1_glue
from paper_runs import Failed, Missing, Result, Row, Work
from paper_table import Table, averages, cell, make, parse_arguments

ACCURACY = Result("accuracy", "eval_accuracy", {"base": 90.5, "large": 92.7})
QNLI = Row("QNLI", results=(ACCURACY,))


def test_a_cell_has_mean_and_sample_deviation(rng):
    values = rng.random(5)
    mean, deviation = 100 * values.mean(), 100 * np.std(values, ddof=1)
    assert cell(list(values), 100) == f"{mean:.1f} ± {deviation:.1f}"
    assert cell([0.123], 100) == "12.3"
    assert cell([float("nan"), 0.5]) == "nan ± nan"


@pytest.mark.parametrize("size", ["base", "large"])
def test_the_papers_average_is_that_of_its_numbers(size):
    found = {
        row.name: {one.id: [one.of_paper(size) / 100] for one in row.results}
        for row in table1_glue.ROWS
    }
    (mean,) = averages(table1_glue.ROWS, found)
    assert f"{mean:.1f}" == f"{table1_glue.TABLE.average[size]:.1f}"
    del found["QQP"]
    assert averages(table1_glue.ROWS, found) is None


def test_an_average_is_taken_for_each_run():
    rows = [QNLI, Row("RTE", results=(ACCURACY,))]
    numbers = {"QNLI": {ACCURACY.id: [0.5, 0.7]}, "RTE": {ACCURACY.id: [1, 0]}}
    assert averages(rows, numbers) == pytest.approx([75.0, 35.0])


class Done(Work):
    """A `Work` whose numbers are given, or why there are none."""

    def __init__(self, numbers, folder, *more):
        given = ["--size=builtin", f"--data_dir={folder}", *more]
        table = Table("Table 1", lambda work: [])
        super().__init__(
            parse_arguments(table, "", [*given, f"--output_dir={folder}"])
        )
        self.numbers = numbers

    def numbers_of(self, row):
        found = self.numbers[row.name]
        if isinstance(found, Exception):
            raise found
        return found


def make_table(folder, numbers, *more):
    rows = [Row(name, results=(ACCURACY,)) for name in numbers]
    table = Table("Table 1: GLUE", lambda work: rows, notes=("A note.",))
    return make(table, Done(numbers, folder, *more))


def test_a_table_is_markdown_and_says_what_is_missing(tmp_path):
    numbers = {
        "QNLI": {ACCURACY.id: [0.5, 0.7]},
        "RTE": Missing("no data: glue/RTE has no train.tsv"),
    }
    text, code = make_table(tmp_path, numbers, "--num_runs=2", "--seed=4")
    lines = text.splitlines()
    assert lines[0] == "Table 1: GLUE"
    assert "2 runs from seed 4" in lines[2]
    assert lines[4:8] == [
        "| | | ours | paper, BERT-Base |",
        "|---|---|---|---|",
        "| QNLI | accuracy | 60.0 ± 14.1 | 90.5 |",
        "| RTE | accuracy | not here | 90.5 |",
    ]
    assert lines[9] == "- A note."
    assert "RTE: no data: glue/RTE has no train.tsv" in lines[10]
    assert code == 0


@pytest.mark.parametrize(
    "numbers, code",
    [
        ({"RTE": Missing("no data")}, 1),
        ({"RTE": {ACCURACY.id: [1.0]}, "QNLI": Failed("ended with 1")}, 1),
        ({"RTE": {ACCURACY.id: [1.0]}, "QNLI": {}}, 0),
    ],
)
def test_the_exit_code_is_1_if_nothing_ran_or_a_command_failed(
    tmp_path, numbers, code
):
    assert make_table(tmp_path, numbers)[1] == code


@pytest.mark.parametrize(
    "more, facts",
    [
        ([], ["--checkpoint", "--size=builtin"]),
        (["--size=builtin", "--checkpoint=."], ["--size", "--checkpoint"]),
        (["--checkpoint=/nowhere"], ["--checkpoint=/nowhere"]),
        (["--checkpoint=."], ["bert_config.json"]),
        (["--size=builtin", "--num_runs=0"], ["--num_runs", "0"]),
        (["--size=builtin", "--data_dir=/nowhere"], ["--data_dir=/nowhere"]),
    ],
)
def test_wrong_arguments_are_named(tmp_path, monkeypatch, capsys, more, facts):
    monkeypatch.chdir(tmp_path)
    given = ["--data_dir=.", "--output_dir=out", *more]
    with pytest.raises(SystemExit) as end:
        paper_table.main(table1_glue.TABLE, "", given)
    message = capsys.readouterr().err
    assert end.value.code == 2
    assert [fact for fact in facts if fact not in message] == []
    assert not (tmp_path / "out").exists()


def test_unknown_rows_are_named_with_the_known_ones(tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)WNLI.*MNLI.*RTE"):
        paper_table.main(
            table1_glue.TABLE,
            "",
            [
                *(f"--data_dir={tmp_path}", f"--output_dir={tmp_path}"),
                *("--size=builtin", "--only=WNLI"),
            ],
        )
