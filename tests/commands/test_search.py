"""search as its users see it: lines and queries in, lines out."""

import json
import shutil

import numpy as np
import pytest
from helpers.commands import run_command
from helpers.paths import GOLDEN

import bert_tf
from bert_tf.errors import InputError
from bert_tf.tasks import metrics

pytestmark = pytest.mark.usefixtures("without_graphs")

LINES = [
    "the park is old .",
    "",
    "it was born in the city",
    "who was it ?",
    "the park is old .",
    "how old is the museum ?",
]
QUERIES = ["how old is the park ?", "it was in the city"]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "bert"
    shutil.copytree(GOLDEN / "checkpoints" / "small", path)
    return path


@pytest.fixture
def flags(folder, tmp_path):
    (tmp_path / "lines.txt").write_text("".join(f"{x}\n" for x in LINES))
    (tmp_path / "queries.txt").write_text("".join(f"{x}\n" for x in QUERIES))
    return {
        "checkpoint": folder,
        "input_file": tmp_path / "lines.txt",
        "query_file": tmp_path / "queries.txt",
        "output_file": tmp_path / "found.jsonl",
        "top_k": 3,
    }


def found(flags):
    run_command("search", **flags)
    lines = flags["output_file"].read_text().splitlines()
    return [json.loads(line) for line in lines]


def cosines(folder, pooling):
    bert = bert_tf.load(folder)
    queries, lines = (
        metrics.unit(bert.encode(texts, pooling, normalize=False))
        for texts in (QUERIES, LINES)
    )
    return queries @ lines.T


def test_lines_are_found_by_their_cosine(flags, folder):
    want = cosines(folder, "mean")
    got = found(flags)
    assert [one["query"] for one in got] == QUERIES
    for row, one in zip(want, got):
        numbers = [result["line"] for result in one["results"]]
        kept = [n for n in range(len(LINES)) if LINES[n]]
        order = sorted(kept, key=lambda n: (-round(float(row[n]), 5), n))
        assert numbers == [n + 1 for n in order[:3]]
        for result in one["results"]:
            assert result["text"] == LINES[result["line"] - 1]
            cosine = row[result["line"] - 1]
            assert result["cosine"] == pytest.approx(cosine, abs=2e-6)


def test_vectors_are_kept_for_the_next_search(flags, tmp_path, monkeypatch):
    flags["vectors_file"] = tmp_path / "kept" / "lines.npz"
    first = found(flags)
    with np.load(flags["vectors_file"]) as file:
        assert file["lines"].tolist() == [1, 3, 4, 5, 6]
        np.testing.assert_allclose(
            np.linalg.norm(file["vectors"], axis=1), 1, atol=1e-6
        )
    monkeypatch.setattr(
        "bert_tf.search.LineEncoder.encode_lines",
        lambda *_: pytest.fail("encoded again"),
    )
    assert found(flags) == first
    for changed, named in (
        ({"pooling": "cls"}, "pooling: mean there, cls here"),
        ({"max_seq_length": 9}, "max_seq_length"),
    ):
        with pytest.raises(InputError, match=named):
            found({**flags, **changed})
    with open(flags["input_file"], "a") as file:
        file.write("more\n")
    with pytest.raises(InputError, match="count: 5 there, 6 here; lines: "):
        found(flags)


def test_vectors_of_other_weights_are_refused(flags, folder, tmp_path):
    flags["vectors_file"] = tmp_path / "lines.npz"
    found(flags)
    before = dict(np.load(flags["vectors_file"]))
    about = {**json.loads(str(before["about"])), "model": "0" * 64}
    np.savez(
        flags["vectors_file"],
        **{**before, "about": np.array(json.dumps(about))},
    )
    with pytest.raises(InputError, match="model: 000000000000 there"):
        found(flags)


def test_a_folder_says_how_its_vectors_are_made(flags, folder, capsys):
    noted = {"head": "features", "pooling": "cls", "normalize": False}
    (folder / "bert_tf.json").write_text(json.dumps(noted))
    want = cosines(folder, "cls")
    best = found(flags)[0]["results"][0]
    assert best["cosine"] == pytest.approx(want[0].max(), abs=2e-6)
    with pytest.raises(InputError, match="--pooling=max must agree"):
        found({**flags, "pooling": "max"})
    del flags["output_file"], flags["query_file"]
    run_command("search", text=QUERIES[0], **flags)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == QUERIES[0] and len(printed) == 4
    assert f"line {best['line']}: {best['text']}" in printed[1]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"query_file": None}, "--text` or `--query_file.*neither"),
        ({"text": "a"}, "both"),
        ({"top_k": 0}, "--top_k=0"),
        ({"input_file": "no.txt"}, r"no\.txt"),
        ({"query_file": "no.txt"}, r"--query_file.*no\.txt"),
        ({"max_seq_length": 10**6}, "--max_seq_length"),
        ({"vectors_file": "."}, "--vectors_file"),
        ({"checkpoint": "nowhere"}, "nowhere"),
    ],
)
def test_mistakes_are_named(flags, changed, named):
    flags = {k: v for k, v in {**flags, **changed}.items() if v is not None}
    with pytest.raises(InputError, match=named):
        found(flags)


def test_no_file_is_written_over_one_that_is_read(flags):
    for name in ("input_file", "query_file", "output_file"):
        if name == "output_file":
            flags[name].write_text("")
        with pytest.raises(InputError, match=f"vectors_file.*{name}"):
            found({**flags, "vectors_file": flags[name]})


def test_queries_without_a_text_are_left_out(flags, caplog):
    with open(flags["query_file"], "a") as file:
        file.write("\n  \n")
    with caplog.at_level("INFO"):
        assert [one["query"] for one in found(flags)] == QUERIES
    assert "2 of 4 queries have no text" in caplog.text
    del flags["query_file"]
    with pytest.raises(InputError, match=r"--text.* must hold a query"):
        found({**flags, "text": " "})


def test_an_output_that_cannot_be_written_is_found_first(flags, monkeypatch):
    monkeypatch.setattr(
        "bert_tf.search.LineEncoder.encode_lines",
        lambda *_: pytest.fail("encoded before"),
    )
    flags["output_file"] = flags["input_file"] / "found.jsonl"
    with pytest.raises(InputError, match="--output_file"):
        run_command("search", **flags)


@pytest.mark.parametrize("name", ["input_file", "query_file"])
def test_files_without_a_text_are_named(flags, name):
    flags[name].write_text("")
    with pytest.raises(InputError, match=f"--{name}"):
        found(flags)
