"""How text is split into shards, and their seeds."""

import pytest

from bert_tf.tasks.pretraining import shards


def test_seeds_of_shards_are_32_bits_of_a_sha256():
    # printf 12345,3 | sha256sum | head -c 8
    assert shards.shard_seed(12345, 3) == int("d889d921", 16)
    seeds = [shards.shard_seed(one, n) for one in (1, 2) for n in range(1000)]
    assert len(set(seeds)) == 2000


@pytest.mark.parametrize(
    ("megabytes", "count"),
    [(0, 0), (0.2, 1), (3.5, 3), (20, 16), (256, 16), (257, 32), (40e3, 2512)],
)
def test_the_number_of_shards_lets_workers_finish_together(megabytes, count):
    assert shards.count_shards(int(megabytes * 1e6)) == count
