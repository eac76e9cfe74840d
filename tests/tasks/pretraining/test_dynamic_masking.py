import numpy as np
import pytest
import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.tasks.pretraining.dynamic_masking import Masker, unmasked

CLS, SEP, MASK, SIZE = 1, 2, 3, 1000
LENGTH, MOST = 64, 12


def batch(num_rows, rng, lengths=(64, 20, 7)):
    """Rows [CLS] a [SEP] b [SEP], unmasked, and their records' features."""
    ids = rng.integers(10, SIZE, size=(num_rows, LENGTH))
    mask = np.zeros_like(ids)
    for row in range(num_rows):
        length = lengths[row % len(lengths)]
        mask[row, :length] = 1
        ids[row, length:] = 0
        ids[row, 0], ids[row, length // 2], ids[row, length - 1] = CLS, SEP, SEP
    ids, mask = ids.astype(np.int32), mask.astype(np.int32)
    none = np.zeros((num_rows, MOST), np.int32)
    return {
        "input_ids": ids,
        "input_mask": mask,
        "segment_ids": np.zeros_like(ids),
        "masked_lm_positions": none,
        "masked_lm_ids": none,
        "masked_lm_weights": none.astype(np.float32),
        "next_sentence_labels": np.zeros((num_rows, 1), np.int32),
    }


def tensors(features):
    return {name: tf.constant(x) for name, x in features.items()}


def remasked(masker, features, seed=(1, 2)):
    got = tf.function(masker)(tensors(features), tf.constant(seed))
    return {name: x.numpy() for name, x in got.items()}


def whole_word_masker():
    # Ids from 500 on are pieces that go on with a word.
    return Masker(
        MASK, CLS, SEP, SIZE, tuple(i >= 500 for i in range(SIZE)), 0.15
    )


@pytest.mark.parametrize("masker", [Masker(MASK, CLS, SEP, SIZE), None])
def test_masks_are_taken_back_exactly(masker, rng):
    features = batch(30, rng)

    once = remasked(masker or whole_word_masker(), features)

    assert (once["input_ids"] != features["input_ids"]).any()
    np.testing.assert_array_equal(
        unmasked(tensors(once)), features["input_ids"]
    )


def test_predicts_as_many_as_the_original_would(rng):
    got = remasked(Masker(MASK, CLS, SEP, SIZE), batch(3, rng))

    # min(12, max(1, round(length * 0.15))) of lengths 64, 20, 7.
    np.testing.assert_array_equal(
        got["masked_lm_weights"].sum(axis=1), [10, 3, 1]
    )


def test_a_limit_below_the_share_is_kept(rng):
    got = remasked(Masker(MASK, CLS, SEP, SIZE, None, 0.5), batch(3, rng))

    np.testing.assert_array_equal(
        got["masked_lm_weights"].sum(axis=1), [12, 10, 4]
    )


def test_positions_are_sorted_real_tokens_and_padding_is_0(rng):
    features = batch(60, rng)

    got = remasked(Masker(MASK, CLS, SEP, SIZE), features)

    for row in range(60):
        count = int(got["masked_lm_weights"][row].sum())
        places = got["masked_lm_positions"][row]
        assert list(places[:count]) == sorted(set(places[:count]))
        assert not places[count:].any()
        assert not got["masked_lm_ids"][row, count:].any()
        before = features["input_ids"][row, places[:count]]
        np.testing.assert_array_equal(got["masked_lm_ids"][row, :count], before)
        assert not np.isin(before, [0, CLS, SEP]).any()


def test_80_percent_are_masked_10_kept_and_10_drawn(rng):
    features = batch(3000, rng, lengths=(64,))

    got = remasked(Masker(MASK, CLS, SEP, SIZE), features)

    places = got["masked_lm_positions"][:, :10]
    now = np.take_along_axis(got["input_ids"], places, axis=1)
    before = got["masked_lm_ids"][:, :10]
    # 30,000 draws: three standard deviations are 0.7 % and 0.5 %.
    assert np.mean(now == MASK) == pytest.approx(0.8, abs=0.007)
    assert np.mean(now == before) == pytest.approx(0.1, abs=0.006)
    drawn = now[(now != MASK) & (now != before)]
    # Any id of the vocabulary, special ones too, all equally often.
    assert drawn.min() < 10
    assert drawn.max() > SIZE - 10
    assert drawn.mean() == pytest.approx(SIZE / 2, rel=0.05)


def test_every_position_is_masked_equally_often(rng):
    features = batch(4000, rng, lengths=(20,))

    got = remasked(Masker(MASK, CLS, SEP, SIZE), features)

    counts = np.bincount(
        got["masked_lm_positions"][:, :3].ravel(), minlength=20
    )
    assert counts[[0, 10, 19]].sum() == 0
    others = np.delete(counts[:20], [0, 10, 19])
    # 12,000 draws over 17 positions: 706 each, deviation 26.
    assert others.min() > 600
    assert others.max() < 810


def test_words_are_masked_whole(rng):
    features = batch(300, rng)

    got = remasked(whole_word_masker(), features)

    for row in range(300):
        count = int(got["masked_lm_weights"][row].sum())
        chosen = set(got["masked_lm_positions"][row, :count])
        for word in words(features["input_ids"][row]):
            assert chosen.isdisjoint(word) or chosen.issuperset(word)


def words(ids):
    """Positions of each word, by the original's rule, in plain Python."""
    found = []
    for place, token in enumerate(ids):
        if token in (0, CLS, SEP):
            continue
        if token >= 500 and found:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def test_whole_words_fill_the_number_as_far_as_they_fit(rng):
    features = batch(900, rng, lengths=(64,))

    got = remasked(whole_word_masker(), features)

    counts = got["masked_lm_weights"].sum(axis=1)
    assert counts.max() == 10
    # Half of all pieces begin a word, so that nearly always one fits.
    assert (counts == 10).mean() > 0.95


def test_the_same_seed_and_step_give_the_same_masks(rng):
    features, masker = batch(6, rng), Masker(MASK, CLS, SEP, SIZE)

    first = remasked(masker, features, (5, 7))
    again = remasked(masker, features, (5, 7))
    other = remasked(masker, features, (5, 8))

    np.testing.assert_array_equal(first["input_ids"], again["input_ids"])
    assert (first["input_ids"] != other["input_ids"]).any()


def test_a_dataset_continued_at_a_step_draws_the_same_masks(rng):
    masker, features = Masker(MASK, CLS, SEP, SIZE), tensors(batch(4, rng))
    batches = tf.data.Dataset.from_tensors(features).repeat(6)

    whole = list(masker.remask(batches, 3))
    rest = list(masker.remask(batches.skip(4), 3, start_step=4))

    assert (whole[0]["input_ids"] != whole[1]["input_ids"]).numpy().any()
    for want, got in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(want["input_ids"], got["input_ids"])


def test_a_vocabulary_without_mask_is_an_error():
    with pytest.raises(InputError, match=r"vocab.txt must have \[MASK\]"):
        Masker.from_vocab({"[CLS]": 0, "[SEP]": 1}, "vocab.txt")
