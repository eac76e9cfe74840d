"""neighbours as a function and as a command."""

import itertools

import numpy as np
import pytest
from helpers.golden import TINY, read_variables
from helpers.language_models import numpy_bert, parse
from helpers.paths import ROOT

import bert_tf
from bert_tf import neighbours
from bert_tf.errors import InputError

pytestmark = pytest.mark.usefixtures("without_graphs")

LINES = [
    "the quiet museum measured John Smith .",
    "a garden",
    "The museum of the museum",
    "quiet , quiet museum",
]
# Each of the museums: its line and its word.
PLACES = [(0, 2), (2, 1), (2, 4), (3, 3)]


@pytest.fixture(scope="module")
def tiny():
    return bert_tf.load(TINY)


def vector(tiny, line, word, layer=-1):
    """The mean over the pieces of a word, in NumPy."""
    texts = tiny.tokenizer.basic_tokenizer.tokenize(line)
    pieces = [tiny.tokenizer.tokenize(text) for text in texts]
    tokens = ["[CLS]", *itertools.chain(*pieces), "[SEP]"]
    ids = tiny.tokenizer.convert_tokens_to_ids(tokens)
    first = 1 + sum(map(len, pieces[:word]))
    layers = numpy_bert().layers(ids)
    return layers[layer][first : first + len(pieces[word])].mean(0)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.usefixtures("with_graphs")
def test_the_neighbours_are_those_of_numpy(tiny):
    found = neighbours.find_neighbours(tiny, "Museum", LINES, top_k=2)

    want = [vector(tiny, LINES[line], word) for line, word in PLACES]
    got = [(one.line, one.position) for one in found.occurrences]
    assert got == PLACES
    np.testing.assert_allclose(found.vectors, want, atol=2e-5)
    pairs = list(itertools.permutations(range(4), 2))
    cosines = {(i, j): cosine(want[i], want[j]) for i, j in pairs}
    mean = np.mean(list(cosines.values()))
    assert found.mean == pytest.approx(mean, abs=1e-5)
    for i, nearest in enumerate(found.nearest):
        best = sorted(
            (j for j in range(4) if j != i), key=lambda j: -cosines[i, j]
        )
        places = [(n.word.line, n.word.position) for n in nearest]
        assert places == [PLACES[j] for j in best[:2]]
        for near, j in zip(nearest, best):
            assert near.cosine == pytest.approx(cosines[i, j], abs=1e-5)
            assert near.relative == pytest.approx(
                cosines[i, j] - mean, abs=2e-5
            )


def test_all_words_are_compared_on_request(tiny):
    found = neighbours.find_neighbours(
        tiny, "garden", LINES, layer=2, top_k=99, against="words"
    )
    ((*nearest,),) = found.nearest
    words = [line.lower().split() for line in LINES]
    places = {
        (line, word) for line, of in enumerate(words) for word in range(len(of))
    }
    assert {(n.word.line, n.word.position) for n in nearest} == (
        places - {(1, 1)}
    )
    mine = vector(tiny, LINES[1], 1, layer=1)
    for near in nearest:
        line, word = near.word.line, near.word.position
        assert near.word.text == words[line][word]
        want = cosine(mine, vector(tiny, LINES[line], word, layer=1))
        assert near.cosine == pytest.approx(want, abs=1e-5)


def test_without_context_it_is_the_embedding_table(tiny):
    found = neighbours.find_neighbours(tiny, "museum", LINES, top_k=4)

    table = read_variables(TINY)["bert/embeddings/word_embeddings"]
    mine = tiny.tokenizer.vocab["museum"]
    cosines = [cosine(row, table[mine]) for row in table]
    best = [i for i in np.argsort(cosines)[::-1] if i != mine][:4]
    assert [tiny.tokenizer.vocab[piece] for piece, _ in found[-1]] == best
    np.testing.assert_allclose(
        [value for _, value in found[-1]], np.array(cosines)[best], atol=1e-5
    )


@pytest.fixture
def lines_file(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


def test_lines_and_neighbours_are_printed_in_the_order_of_the_file(
    lines_file, tiny, capsys
):
    neighbours.main(
        parse(
            neighbours,
            "--word=museum",
            f"--input_file={lines_file}",
            "--top_k=1",
        )
    )
    found = neighbours.find_neighbours(tiny, "museum", LINES, top_k=1)
    out = capsys.readouterr().out
    blocks = out.split("\n\n")
    assert f"{found.mean:.4f}" in blocks[0]
    for block, (line, word), (near,) in zip(
        blocks[1:5], PLACES, found.nearest, strict=True
    ):
        own, other = block.splitlines()
        assert own == f"{LINES[line]}  [line {line + 1}, word {word + 1}]"
        value, relative, text = other.split(maxsplit=2)
        assert float(value) == pytest.approx(near.cosine, abs=1e-4)
        assert float(relative) == pytest.approx(near.relative, abs=1e-4)
        assert text.startswith(LINES[near.word.line])
    assert blocks[5].splitlines()[1].split()[1] == found[-1][0][0]


def test_vectors_are_saved_in_the_order_of_the_file(lines_file, tiny, tmp_path):
    path = tmp_path / "new" / "vectors.npz"
    neighbours.main(
        parse(
            neighbours,
            "--word=museum",
            f"--input_file={lines_file}",
            "--layer=0",
            "--noskip_padding",
            f"--save={path}",
        )
    )
    arrays = np.load(path)
    assert set(arrays) == {"vectors", "lines", "positions"}
    places = zip(arrays["lines"].tolist(), arrays["positions"].tolist())
    assert list(places) == PLACES
    want = neighbours.find_neighbours(tiny, "museum", LINES, layer=0)
    np.testing.assert_allclose(arrays["vectors"], want.vectors, atol=1e-6)


def test_a_file_that_cannot_be_written_is_found_first(lines_file, monkeypatch):
    monkeypatch.setattr(
        "bert_tf.neighbours.find_neighbours",
        lambda *_: pytest.fail("computed before"),
    )
    words = "--word=museum", f"--input_file={lines_file}"
    with pytest.raises(InputError, match=r"--save.*lines\.txt"):
        neighbours.main(
            parse(neighbours, *words, f"--save={lines_file}/vectors.npz")
        )


def test_few_texts_get_a_matrix_of_cosines(tiny, capsys):
    texts = [f"--text={line}" for line in LINES]
    neighbours.main(parse(neighbours, "--word=museum", *texts))
    found = neighbours.find_neighbours(tiny, "museum", LINES)
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("Cosines, by line and word:")
    assert lines[start + 1].split() == ["1.3", "3.2", "3.5", "4.4"]
    for row, line in enumerate(lines[start + 2 : start + 6]):
        shown = list(map(float, line.split()[1:]))
        want = [cosine(found.vectors[row], one) for one in found.vectors]
        assert shown == pytest.approx(want, abs=1e-4)


def test_a_word_that_is_alone_has_no_neighbours(capsys):
    neighbours.main(parse(neighbours, "--word=garden", "--text=a garden"))
    out = capsys.readouterr().out
    assert "1 occurrence," in out and "nothing else to compare" in out


@pytest.mark.slow
def test_the_sense_of_bank_shows_in_the_last_layer():
    lines = (ROOT / "run_scripts/sample_data/bank.txt").read_text()
    lines = lines.splitlines()
    bert = bert_tf.load("builtin")
    shares = []
    for layer in range(4):
        found = neighbours.find_neighbours(bert, "bank", lines, layer, 1)
        pairs = [
            (one.line, near.word.line)
            for one, (near,) in zip(found.occurrences, found.nearest)
        ]
        shares.append(np.mean([(a < 8) == (b < 8) for a, b in pairs]))
    assert len(pairs) == 16
    assert shares[0] <= 0.7 and shares[1:] == [1, 1, 1]
