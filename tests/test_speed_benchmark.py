"""Tables of speed and memory, the picture of them, and what is measured."""

import json
import subprocess
import sys
import xml.etree.ElementTree

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.programs import load

from bert_tf.checkpoints import inference
from bert_tf.data import records

BENCHMARKS = ROOT / "benchmarks"
VOCAB = ROOT / "checkpoints" / "builtin" / "vocab.txt"


own_process = load(BENCHMARKS / "own_process.py")
workloads = load(BENCHMARKS / "workloads.py")
speed = load(BENCHMARKS / "speed.py")
memory = load(BENCHMARKS / "memory.py")
load(BENCHMARKS / "pictures.py")
plot_effects = load(BENCHMARKS / "plot_effects.py")

ABOUT = {
    "size": "mini",
    "rounds": 3,
    "cores": 2,
    "tensorflow": "2.21.0",
    "python": "3.11.2",
    "load": 0.0,
}


def measurement(name):
    (found,) = speed.chosen([name])
    return found


def rounds_of(amount, *rounds):
    return [
        {
            "seconds": seconds,
            "processor_seconds": 1.5 * sum(seconds),
            "amount": amount,
            "peak_bytes": 1e9 * number,
        }
        for number, seconds in enumerate(rounds, start=1)
    ]


# ----------------------------------------------------------------------- speed


def test_names_are_distinct_and_select():
    every = speed.chosen(None)
    assert len({one.name for one in every}) == len(every) == 32
    found = {one.name for one in speed.chosen(["train-*/float32", "data"])}
    assert found == {
        "train-classifier/32x128/float32",
        "train-squad/8x384/float32",
        "train-pretraining/32x128/float32",
        "data",
    }


def test_pattern_that_fits_nothing_lists_the_names():
    with pytest.raises(SystemExit, match=r"'nope'(?s:.)*latency/1x128/float32"):
        speed.chosen(["data", "nope"])


def test_row_has_the_median_of_medians_and_the_most_memory():
    rounds = rounds_of(32, [1, 2, 9], [4, 4, 4], [3, 3, 100])
    row = speed.summary(measurement("infer/32x128/float32"), rounds)
    assert (row["seconds"], row["seconds_low"], row["seconds_high"]) == (
        3,
        2,
        4,
    )
    assert row["rate"] == pytest.approx(32 / 3)
    assert row["calls"] == 9
    assert row["cores"] == pytest.approx(1.5)
    assert row["peak_bytes"] == 3e9
    assert "p99_seconds" not in row


def test_p99_is_that_of_all_rounds_together(rng):
    calls = rng.random(300)
    rounds = rounds_of(1, *calls.reshape(3, 100).tolist())
    row = speed.summary(measurement("latency/1x128/float32"), rounds)
    want = np.percentile(calls, 99, method="inverted_cdf")
    assert row["p99_seconds"] == want


def test_table_has_a_line_for_each_row_and_what_it_lacks_is_empty():
    rows = [
        speed.summary(measurement(name), rounds_of(amount, [seconds]))
        for name, amount, seconds in (
            ("latency/1x128/mixed_bfloat16", 1, 0.0125),
            ("startup/1x128", 1, 4.567),
            ("data", 2.0, 6.0),
        )
    ]
    assert speed.table(rows).splitlines()[2:] == [
        "| latency 1x128 | mixed_bfloat16 | 12.5 ms | 12.5 ms to 12.5 ms "
        "| 12.5 ms | 80.0 texts/s | 1.5 | 1.00 GB |",
        "| startup 1x128 |  | 4.57 s | 4.57 s to 4.57 s |  |  "
        "| 1.5 | 1.00 GB |",
        "| data |  | 6.00 s | 6.00 s to 6.00 s |  | 0.333 MB/s "
        "| 1.5 | 1.00 GB |",
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.01234, "0.0123"), (1.5, "1.50"), (1234.5, "1,234")],
)
def test_numbers_have_three_digits(number, text):
    assert speed.rounded(number) == text


def test_calls_go_on_until_both_limits_are_reached():
    calls = []
    spent, _ = speed.time_calls(lambda: calls.append(1), seconds=0, least=5)
    # Two are not measured.
    assert len(calls) - 2 == len(spent) == 5


def build(name, folder):
    job = {"size": "builtin", "folder": str(folder), "seconds": 0}
    return speed.build({**job, **measurement(name)._asdict()})[0]


def test_exports_are_the_same_encoder_with_rounded_kernels(tmp_path):
    exact, *others = (
        build(f"latency/1x128/{precision}", tmp_path)()["pooled_output"]
        for precision in speed.PRECISIONS
    )
    mixed, in_16_bits, in_8_bits = (abs(exact - other) for other in others)
    for error in (mixed, in_16_bits, in_8_bits):
        assert 0 < error.max() < 0.05
    np.testing.assert_array_equal(others[0], others[1])


@pytest.mark.parametrize("kind", workloads.TRAININGS)
def test_records_that_are_read_are_those_of_a_step(kind, tmp_path):
    config = workloads.find_config("builtin")
    path = str(tmp_path / "records")
    schema = workloads.write_training_records(path, kind, config, 6, 24)
    (batch,) = records.evaluation_batches([path], schema, 6).as_numpy_iterator()
    wanted = workloads.training_features(kind, config, 6, 24)
    for name, values in wanted.items():
        np.testing.assert_array_equal(batch[name].ravel(), values.ravel())


def test_reading_records_is_measured_by_the_batch(tmp_path):
    read = build("input-squad/8x384", tmp_path)
    first, second = (read()["start_positions"].numpy() for _ in range(2))
    assert first.shape == second.shape == (8,)
    assert (first != second).any()


# ---------------------------------------------------------------------- memory


def test_fit_is_that_of_numpy(rng):
    x, y = rng.random((2, 7))
    fixed, slope = memory.linear_fit(list(zip(x, y)))
    np.testing.assert_allclose([slope, fixed], np.polyfit(x, y, 1))


@pytest.mark.parametrize(
    ("fixed", "per_example", "want"),
    [(2e9, 3e9, 3), (0, 3e9, 4), (13e9, 1e9, 0), (2e9, 0, None)],
)
def test_largest_batch_just_fits(fixed, per_example, want):
    assert memory.largest_batch(fixed, per_example, 12e9) == want


def parse(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["memory", *flags])
    return memory.parse_arguments()


def found(peak, before=1e9, seconds=2.0):
    return [
        {"peak_bytes": peak, "before_bytes": before, "seconds": [seconds]},
    ]


def test_batch_must_be_divisible_into_parts(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        parse(monkeypatch, "--batch=6")
    assert "multiple of 4" in capsys.readouterr().err
    arguments = parse(monkeypatch, "--batch=6", "--variants", "plain")
    jobs = memory.jobs_of_table(arguments)
    assert [job["length"] for job in jobs] == list(memory.LENGTHS)


def test_two_batches_have_about_so_many_tokens():
    assert memory.two_batches(1024, 320, "plain") == (3, 6)
    assert memory.two_batches(1024, 320, "accumulation") == (4, 8)
    assert memory.two_batches(64, 512, "plain") == (1, 2)


def test_largest_batches_stand_beside_those_of_the_original(monkeypatch):
    flags = "--largest --tokens 1024 --lengths 128 512"
    arguments = parse(monkeypatch, *flags.split())
    measured = []
    for job in memory.jobs_of_largest(arguments):
        per_token = 1e6 if job["variant"] == "plain" else 5e5
        peak = 2e9 + job["batch"] * job["length"] * per_token
        measured.append((job, found(peak)))
    # One process was killed.
    measured[-1] = measured[-1][0], [None]

    rows = memory.largest_rows(measured, memory.ORIGINAL["base"], 12e9)

    assert [row.get("largest") for row in rows] == [78, 156, 19, None]
    first, second = memory.largest_table(rows).splitlines()[2:]
    assert first == (
        "| 128 | 32 | 78 | 8: 3.02 GB, 16: 4.05 GB | 2.00 GB | 128 MB "
        "| 156 | 8: 2.51 GB, 16: 3.02 GB | 2.00 GB | 64 MB |"
    )
    assert second.startswith("| 512 | 6 | 19 |")
    assert "killed" in second


def test_memory_table_compares_with_plain(monkeypatch):
    arguments = parse(
        monkeypatch, "--lengths", "128", "--variants", "plain", "recompute"
    )
    plain, recompute = memory.jobs_of_table(arguments)
    rows = memory.table_rows(
        [
            (plain, found(5e9)),
            (recompute, found(2e9, seconds=2.5) + found(4e9, seconds=2.5)),
        ]
    )
    assert memory.memory_table(rows).splitlines()[2:] == [
        "| 128 | 8 | plain | 5.00 GB | 4.00 GB | 100 % | 2 s | 100 % |",
        "| 128 | 8 | recompute | 3.00 GB | 2.00 GB | 50 % | 2.5 s | 125 % |",
    ]


# -------------------------------------------------------------- own processes


PROGRAM = """
import json, os, signal, sys
job = json.loads(sys.argv[1].removeprefix("--job="))
if job["what"] == "answer":
    print("a line of some library")
    print(json.dumps({"got": job}))
elif job["what"] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
else:
    raise ValueError("no such thing")
"""


def test_job_is_answered_or_its_end_is_told(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    job = {"what": "answer", "length": 3}
    assert own_process.run(path, job) == {"got": job}
    with pytest.raises(own_process.JobFailed, match="SIGKILL") as caught:
        own_process.run(path, {"what": "die"})
    assert caught.value.killed
    with pytest.raises(own_process.JobFailed, match="no such thing") as caught:
        own_process.run(path, {"what": "fail"})
    assert not caught.value.killed


def test_process_that_measures_holds_nothing_large_itself():
    # What it holds would count as its children's.
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import memory, speed; "
        "sys.exit(any(n in sys.modules for n in ('numpy', 'tensorflow')))"
    )
    command = [sys.executable, "-c", program, str(ROOT / "benchmarks")]
    subprocess.run(command, check=True)


# ------------------------------------------------------------------- workloads


@pytest.fixture
def small_config(config):
    # Ids are drawn from 1000 up, as those below are special or single letters.
    config.vocab_size, config.max_position_embeddings = 2000, 32
    config.num_hidden_layers = 1
    return config


def test_lengths_and_inputs_fit_and_are_always_the_same(small_config):
    lengths = workloads.mixed_lengths(128, 128)
    assert lengths == workloads.mixed_lengths(128, 128)
    assert 12 <= min(lengths) < 30 < 90 < max(lengths) <= 128
    inputs = workloads.encoder_inputs(small_config, 128, 128, lengths)
    assert inputs["input_mask"].sum(1).tolist() == lengths
    assert inputs["input_ids"].max() < 2000
    assert not inputs["input_ids"][inputs["input_mask"] == 0].any()


@pytest.mark.parametrize("name", ["in_padded_batches", "in_grouped_batches"])
def test_batches_hold_every_text_once_and_none_is_cut(name):
    lengths = workloads.mixed_lengths(70, 128)
    batches = list(getattr(workloads, name)(lengths, 32, 128))
    places = [place for places, _ in batches for place in places]
    assert sorted(places) == list(range(70))
    for places, length in batches:
        assert max(lengths[place] for place in places) <= length <= 128


def test_outputs_of_batches_are_in_the_order_of_rows():
    lengths = [5, 100, 40, 17]
    inputs = {"input_ids": np.array(lengths)[:, None] + np.zeros(128, int)}

    def run(part):
        return {"first": part["input_ids"][:, 0]}

    batches = workloads.in_grouped_batches(lengths, 2, 128)
    found = workloads.run_batches(run, inputs, batches)
    assert [int(row["first"]) for row in found] == lengths


@pytest.mark.parametrize("kind", workloads.TRAININGS)
def test_loss_of_drawn_weights_is_that_of_guessing_and_falls(
    kind, small_config
):
    make = workloads.TRAININGS[kind].make
    model = workloads.build_model(lambda: make(small_config))
    features = workloads.training_features(kind, small_config, 4, 24)
    step = workloads.compile_training(kind, model, features, 2, 1e-2)
    losses = [step()["loss"] for _ in range(10)]
    # Of 2 classes, of 24 places, of 2000 ids and 2 classes.
    guesses = {
        "classifier": np.log(2),
        "squad": np.log(24),
        "pretraining": np.log(2000) + np.log(2),
    }
    assert losses[0] == pytest.approx(guesses[kind], rel=0.05)
    assert losses[-1] < losses[0]


def test_grouped_texts_have_the_outputs_of_padded_ones(small_config):
    model = workloads.build_model(lambda: workloads.make_encoder(small_config))
    lengths = [12, 30, 17, 25, 32]
    inputs = workloads.encoder_inputs(small_config, 5, 32, lengths)
    run = inference.compile_forward(model)
    padded, grouped = (
        workloads.run_batches(run, inputs, in_batches(lengths, 2, 32))
        for in_batches in (
            workloads.in_padded_batches,
            workloads.in_grouped_batches,
        )
    )
    assert {len(row["sequence_output"]) for row in grouped} == {12, 28, 32}
    for one, other in zip(padded, grouped, strict=True):
        pooled = [row["pooled_output"] for row in (one, other)]
        np.testing.assert_allclose(*pooled, atol=1e-6)


def test_text_has_sentences_of_words_and_is_always_the_same():
    text = workloads.make_text(VOCAB, 0.01)
    assert text == workloads.make_text(VOCAB, 0.01)
    assert 10_000 <= len(text.encode()) < 13_000
    sentences = [line for line in text.splitlines() if line]
    assert all(line.endswith(".") for line in sentences)
    assert len(set(text.split())) > 300


# --------------------------------------------------------------------- picture


def write_files(folder):
    measured = []
    for one in speed.measurements():
        faster = {"mixed_bfloat16": 2, "bfloat16": 3, "int8": 4}
        seconds = 1.0 / faster.get(one.precision, 1)
        seconds /= 2 if one.kind == "mixed-grouped" else 1
        rounds = rounds_of(one.batch, [seconds], [seconds * 1.1])
        measured.append(speed.summary(one, rounds))
    rows = [
        {
            "length": length,
            "variant": variant,
            "batch": 8,
            "step_bytes": 1e7 * length,
            "seconds": length / 100,
        }
        for length in (64, 512)
        for variant in memory.VARIANTS
    ]
    # One that was killed.
    del rows[-1]["step_bytes"], rows[-1]["seconds"]
    for program, found in (("speed", measured), ("memory", rows)):
        about = {"program": program, **ABOUT}
        text = json.dumps({"about": about, "rows": found})
        (folder / f"{program}.json").write_text(text)


def plot(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["plot_effects", *map(str, flags)])
    plot_effects.main()


def test_picture_has_the_panels_that_there_are_numbers_for(
    tmp_path, monkeypatch
):
    pytest.importorskip("matplotlib", reason="bert-tf[docs] is not installed")
    write_files(tmp_path)
    both = [f"--{name}={tmp_path}/{name}.json" for name in ("speed", "memory")]
    for name, flags, count in (
        ("all", both, 4),
        ("again", both, 4),
        ("memory", both[1:], 2),
    ):
        picture = tmp_path / f"{name}.svg"
        plot(monkeypatch, *flags, f"--picture={picture}")
        root = xml.etree.ElementTree.parse(picture).getroot()
        panels = [g for g in root.iter() if g.get("id", "").startswith("axes_")]
        assert len(panels) == count
    first, second = (tmp_path / f"{name}.svg" for name in ("all", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_what_is_drawn_is_what_was_measured(tmp_path):
    write_files(tmp_path)
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    bars = plot_effects.grouping_bars(rows)
    # Rounds of 1 and 1.1 seconds; 128 texts.
    rate, low, high = bars["float32"]["mixed-padded"]
    assert (rate, low, high) == pytest.approx((128 / 1.05, 128 / 1.1, 128))
    ratios = plot_effects.precision_ratios(rows)
    trained = {key for key in ratios if key.startswith("train-")}
    assert (len(ratios), len(trained)) == (8, 3)
    for key, found in ratios.items():
        exported = {} if key in trained else {"bfloat16": 3.0, "int8": 4.0}
        assert found == pytest.approx({"mixed_bfloat16": 2.0, **exported})
    rows = json.loads((tmp_path / "memory.json").read_text())["rows"]
    lines = plot_effects.memory_lines(rows, "step_bytes", 1e-9)
    assert lines["plain"] == ([64, 512], pytest.approx([0.64, 5.12]))
    assert lines["both"] == ([64], pytest.approx([0.64]))


def test_files_in_each_others_place_are_refused(tmp_path, monkeypatch):
    write_files(tmp_path)
    flags = [f"--memory={tmp_path}/speed.json", "--picture=no.svg"]
    with pytest.raises(SystemExit, match=r"memory\.py --json"):
        plot(monkeypatch, *flags)
