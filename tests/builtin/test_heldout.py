"""What masked-LM accuracy on unseen text is compared with."""

import heldout
import pytest


def test_constant_guess_is_the_most_frequent_masked_piece():
    counts = {}
    heldout.count_masked(counts, [7, 9, 7, 0, 0], [1, 1, 1, 0, 0])
    heldout.count_masked(counts, [5, 0], [1.0, 0.0])
    assert counts == {7: 2, 9: 1, 5: 1}
    assert heldout.constant_guess(counts) == (7, 0.5)
    # 2 ** 1.5 bits.
    assert heldout.unigram_perplexity(counts) == pytest.approx(2**1.5)
