import collections
import gzip
import os
import sys
import unicodedata

import pytest
from absl import flags
from helpers.paths import GOLDEN

from bert_tf import learn_vocab as script
from bert_tf.errors import InputError
from bert_tf.tokenization import FullTokenizer

text = pytest.importorskip("tensorflow_text")

# English prose, and lines with many scripts in them.
PROSE = GOLDEN / "learn_vocab" / "persuasion.txt.gz"
SCRIPTS = GOLDEN / "create_pretraining_data" / "corpus.txt.gz"
CORPUS = f"{PROSE},{SCRIPTS}"


@pytest.fixture(scope="module")
def lines():
    content = b"".join(
        gzip.decompress(path.read_bytes()) for path in (PROSE, SCRIPTS)
    )
    return content.decode("utf-8").replace("\r", "").split("\n")


def parse(**given):
    values = flags.FlagValues()
    script.define_flags(values)
    values(["script", *(f"--{name}={value}" for name, value in given.items())])
    return values


def run(output, **given):
    """Learns a vocabulary of the corpus, and returns its lines."""
    given = {"vocab_size": 900, "min_frequency": 3, **given}
    given = {"input_file": CORPUS, "num_unused": 3, **given}
    script.main(parse(output_file=output, **given))
    lines = output.read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    return lines


@pytest.fixture(scope="module")
def uncased(tmp_path_factory):
    path = tmp_path_factory.mktemp("uncased") / "vocab.txt"
    run(path)
    return path


@pytest.fixture(scope="module")
def cased(tmp_path_factory):
    path = tmp_path_factory.mktemp("cased") / "vocab.txt"
    run(path, do_lower_case=False, vocab_size=1000)
    return path


def read(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_size_is_exact_and_the_layout_that_of_released_models(uncased, cased):
    assert len(set(read(uncased))) == len(read(uncased)) == 900
    assert len(set(read(cased))) == len(read(cased)) == 1000
    for path in (uncased, cased):
        tokens = read(path)
        assert tokens[:8] == [
            "[PAD]",
            "[unused0]",
            "[unused1]",
            "[unused2]",
            "[UNK]",
            "[CLS]",
            "[SEP]",
            "[MASK]",
        ]
        singles = [len(token) == 1 for token in tokens[8:]]
        assert singles == sorted(singles, reverse=True)


def test_casing_shows_in_the_pieces(uncased, cased):
    lowered, kept = read(uncased)[8:], read(cased)[8:]
    assert all(token == token.lower() for token in lowered)
    marks = [unicodedata.category(c) for token in lowered for c in token]
    assert "Mn" not in marks
    assert "The" in kept and "the" in kept and "The" not in lowered


def test_frequent_ascii_characters_are_there_in_both_forms(lines, uncased):
    occurrences = collections.Counter("".join(lines).lower())
    tokens = set(read(uncased))
    frequent = [
        c for c, n in occurrences.items() if n >= 3 and c.isascii() and c > " "
    ]
    assert len(frequent) > 30
    for character in frequent:
        assert character in tokens
        # Punctuation is a word of its own: nothing ends in it.
        assert (f"##{character}" in tokens) == character.isalnum()


@pytest.mark.parametrize("casing", ["uncased", "cased"])
def test_our_tokenizer_splits_the_text_as_tensorflow_text_does(
    lines, casing, request
):
    path = request.getfixturevalue(casing)
    ours = FullTokenizer(path, do_lower_case=casing == "uncased")
    theirs = text.WordpieceTokenizer(
        text_table(read(path)), token_out_type=str, unknown_token="[UNK]"
    )
    words = [
        word
        for line in lines[:300]
        for word in ours.basic_tokenizer.tokenize(line)
    ]
    want = theirs.tokenize(words).flat_values.numpy()
    got = [piece for line in lines[:300] for piece in ours.tokenize(line)]
    assert got == [piece.decode() for piece in want]
    assert got.count("[UNK]") < 0.02 * len(words)


def text_table(tokens):
    import tensorflow as tf

    initializer = tf.lookup.KeyValueTensorInitializer(
        tokens, tf.range(len(tokens), dtype=tf.int64)
    )
    return tf.lookup.StaticHashTable(initializer, -1)


@pytest.mark.slow
def test_pieces_are_those_of_tensorflow_text_s_own_pipeline(lines, tmp_path):
    import tensorflow as tf
    from tensorflow_text.tools.wordpiece_vocab import bert_vocab_from_dataset

    # Of plain ASCII both basic tokenizers make the same words.
    plain = [line for line in lines if line.isascii()]
    (tmp_path / "plain.txt").write_text("\n".join(plain))

    def theirs(threshold):
        tokens = bert_vocab_from_dataset.bert_vocab_from_dataset(
            tf.data.Dataset.from_tensor_slices(plain).batch(64),
            vocab_size=1000,
            reserved_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            bert_tokenizer_params={"lower_case": True},
            learn_params={
                "upper_thresh": threshold,
                "lower_thresh": threshold,
            },
        )
        # It gives forms like `##!`, which match nothing.
        return [t for t in tokens if len(t) != 3 or t[2:].isalnum()]

    def ours(size):
        path = tmp_path / f"{size}.txt"
        given = {"input_file": tmp_path / "plain.txt", "min_frequency": 1}
        return run(path, vocab_size=size, num_unused=0, **given)

    want, next_best = theirs(20), theirs(21)
    assert len(next_best) < len(want) - 3
    assert ours(len(want)) == want
    rarest = [t for t in want if len(t.removeprefix("##")) > 1][-3:]
    assert ours(len(want) - 3) == [t for t in want if t not in rarest]


def test_neither_files_nor_their_order_nor_packing_change_it(
    lines, uncased, tmp_path
):
    half = len(lines) // 2
    (tmp_path / "b.txt").write_text("\n".join(lines[:half]), encoding="utf-8")
    (tmp_path / "a.txt").write_text("\n".join(lines[half:]), encoding="utf-8")
    output = tmp_path / "new" / "folder" / "vocab.txt"
    run(output, input_file=tmp_path / "*.txt")
    assert output.read_bytes() == uncased.read_bytes()


def test_the_summary_says_how_the_vocabulary_fits(lines, tmp_path, caplog):
    path = tmp_path / "v.txt"
    with caplog.at_level("INFO", logger="absl"):
        run(path, max_words=1000)
    tokenizer = FullTokenizer(path)
    words = [w for x in lines for w in tokenizer.basic_tokenizer.tokenize(x)]
    pieces = [p for x in lines for p in tokenizer.tokenize(x)]
    unknown = pieces.count("[UNK]") / len(words)
    assert caplog.messages[-1] == (
        f"The text: {len(words):,} words, {len(set(words)):,} distinct; "
        f"{unknown:.4%} of the words are [UNK]; "
        f"{len(pieces) / len(words):.3f} pieces per word."
    )


def test_rare_words_and_characters_can_be_left_out(lines, tmp_path):
    few = run(tmp_path / "f", max_characters=20, vocab_size=80)
    assert sum(len(token) == 1 for token in few) == 20
    given = {"max_characters": 20, "vocab_size": 130}
    fewer, all_of_them = [
        run(tmp_path / "w", max_words=count, **given) for count in (100, 500)
    ]
    assert len(fewer) == len(all_of_them) == 130
    assert fewer != all_of_them


# --------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "given, message",
    [
        ({"vocab_size": 300}, r"`--vocab_size` must be at least \d+, .*=300\."),
        ({"vocab_size": 99999}, r"must be at most \d+ .* occur 3 times"),
        ({"vocab_size": 0}, "`--vocab_size` must be above 0"),
        ({"min_frequency": 0}, "`--min_frequency` must be above 0"),
        ({"min_frequency": 10**6}, "`--min_frequency` must be lower .*1000000"),
        ({"max_words": 0}, "`--max_words` must be above 0"),
        ({"max_characters": -1}, "`--max_characters` must be above 0"),
        ({"input_file": "nowhere*"}, "Nothing matches 'nowhere"),
        ({"input_file": os.devnull}, "There is not one word in /dev/null"),
    ],
)
def test_mistakes_name_the_flag_and_leave_the_old_file(
    given, message, tmp_path
):
    path = tmp_path / "vocab.txt"
    path.write_text("old")
    with pytest.raises(InputError, match=message):
        run(path, **given)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["vocab.txt"]


def test_the_size_that_an_error_names_can_be_had(tmp_path):
    with pytest.raises(InputError) as caught:
        run(tmp_path / "v", vocab_size=99999)
    largest = int(str(caught.value).split("at most ")[1].split()[0])
    assert len(run(tmp_path / "v", vocab_size=largest)) == largest
    with pytest.raises(InputError, match=f"at most {largest} "):
        run(tmp_path / "v", vocab_size=largest + 1)


@pytest.mark.parametrize("output", ["", "folder", "folder/", "gs://b/v.txt"])
def test_the_output_must_be_a_file_here(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    values = parse(input_file=CORPUS, vocab_size=900, output_file=output)
    with pytest.raises(InputError, match="`--output_file` must name a file"):
        script.main(values)


def test_a_negative_number_of_unused_places_is_refused(tmp_path):
    with pytest.raises(InputError, match="--num_unused=-1"):
        run(tmp_path / "v", num_unused=-1)


def test_without_tensorflow_text_the_error_says_what_to_install(
    monkeypatch, tmp_path
):
    name = "tensorflow_text.tools.wordpiece_vocab"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"pip install 'bert-tf\[vocab\]'"):
        run(tmp_path / "v")
