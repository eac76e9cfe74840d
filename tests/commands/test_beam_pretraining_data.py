"""Shards made by Beam are those that create_pretraining_data makes.

Tests with the fixture `beam` need Apache Beam; run_scripts/test_beam.sh
installs it and runs them. The others stand in for Beam with a loop.
"""

import gzip
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys

import pytest
from absl import flags
from helpers.paths import GOLDEN, ROOT

from bert_tf import beam_pretraining_data as script
from bert_tf import create_pretraining_data as local
from bert_tf.errors import InputError
from bert_tf.tasks.pretraining import beam_shards, record_files, shards

DATA = GOLDEN
FOLDER = DATA / "create_pretraining_data"

# DirectRunner would download a program of Beam's.
IN_PROCESS = ["--runner=FnApiRunner"]
TWO_WORKERS = [
    *IN_PROCESS,
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
]


@pytest.fixture
def beam():
    if not importlib.util.find_spec("apache_beam"):
        pytest.skip("needs Apache Beam: see run_scripts/test_beam.sh")


@pytest.fixture
def no_beam(monkeypatch):
    """Replaces the pipeline by a loop in this process."""

    def make(todo, options, notes, beam_options):
        finished = [
            beam_shards.make_shard(one, options, notes.path) for one in todo
        ]
        beam_shards.add_to_notes(
            beam_shards.merge(finished), notes.path, notes.settings
        )
        return True

    monkeypatch.setattr(beam_shards, "run_pipeline", make)
    monkeypatch.setattr(script, "parse_beam_options", list)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_bytes(gzip.decompress((FOLDER / "corpus.txt.gz").read_bytes()))
    return path


@pytest.fixture(scope="module")
def expected(corpus, tmp_path_factory):
    """What the local mode makes: its folder."""
    folder = tmp_path_factory.mktemp("local")
    run_local(corpus, folder)
    return folder


def arguments(corpus, output, **more):
    given = {
        "input_file": f"{corpus},{FOLDER}/part-*.txt",
        "output_file": output,
        "vocab_file": DATA / "checkpoints" / "tiny" / "vocab.txt",
        "max_seq_length": 32,
        "max_predictions_per_seq": 5,
        "dupe_factor": 2,
        "do_whole_word_mask": True,
        "num_shards": 4,
        **more,
    }
    return [f"--{name}={value}" for name, value in given.items()]


def parse(module, given):
    values = flags.FlagValues()
    module.define_flags(values)
    values(["script", *given])
    return values


def run_local(corpus, folder):
    given = parse(local, arguments(corpus, folder / "x", num_workers=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            record_files,
            "report",
            lambda summary: (folder / "summary").write_text(f"{summary}."),
        )
        local.main(given)


def run(corpus, folder, beam_arguments=(), **more):
    given = arguments(corpus, folder / "x", **more)
    script.main(parse(script, given), beam_arguments)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.glob("x-*")}


def notes(folder):
    return json.loads((folder / "x.json").read_text())


def summary(log):
    """The closing line of a log, without the time."""
    [line] = re.findall(r"^\S+ (\d+ documents, .*)$", log, re.MULTILINE)
    return line


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("x-*")}


# ------------------------------------------------------------------- with Beam


def test_two_workers_make_the_files_of_the_local_mode(
    beam, corpus, expected, tmp_path
):
    # As a command, so that workers cannot import what is run by its name.
    command = [sys.executable, "-m", "bert_tf.beam_pretraining_data"]
    given = arguments(corpus.name, "x", num_workers=7)
    done = subprocess.run(
        [*command, *given, *TWO_WORKERS, "--output_file", tmp_path / "x"],
        cwd=corpus.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(content(expected)) == 4
    assert content(tmp_path) == content(expected)
    assert notes(tmp_path) == notes(expected)
    assert sorted(os.listdir(tmp_path)) == [
        *sorted(content(expected)),
        "x.json",
    ]
    assert summary(done.stderr) == (expected / "summary").read_text()
    started = r"^INFO:__main__:Python sdk harness starting"
    assert len(re.findall(started, done.stderr, re.MULTILINE)) == 2


def test_beam_makes_only_the_shards_that_are_missing(
    beam, corpus, expected, tmp_path
):
    run_local(corpus, tmp_path)
    (tmp_path / "x-00001-of-00004").unlink()
    (tmp_path / "x-00002-of-00004").write_bytes(b"cut off")
    before = times(tmp_path)
    run(corpus, tmp_path, IN_PROCESS)
    assert content(tmp_path) == content(expected)
    assert notes(tmp_path) == notes(expected)
    after = times(tmp_path)
    same = [name for name in sorted(after) if after[name] == before.get(name)]
    assert same == ["x-00000-of-00004", "x-00003-of-00004"]


def test_an_input_error_of_a_worker_is_one_sentence(beam, tmp_path):
    (tmp_path / "latin1").write_bytes(b"fine\nf\xe9e\n")
    with pytest.raises(InputError) as raised:
        run(tmp_path / "latin1", tmp_path, IN_PROCESS, num_shards=1)
    message = str(raised.value)
    assert re.match(r"\S*/latin1, line 2: must be UTF-8 text", message)
    assert "\n" not in message and "while running" not in message


def test_an_unknown_runner_is_named_with_the_known_ones(beam, corpus, tmp_path):
    with pytest.raises(InputError, match=r"NoSuch.*FlinkRunner"):
        run(corpus, tmp_path, ["--runner=NoSuch"])


def test_options_are_split_however_they_are_written(beam):
    ours = ["--input_file", "a", "--nodo_lower_case", "--random_seed", "-5"]
    beams = ["--runner", "a", "--streaming", "--num_workers=3"]
    mixed = [*ours[:2], *beams[:2], *ours[2:], *beams[2:]]
    assert script.split_arguments(mixed) == (ours, beams)
    assert script.split_arguments([*mixed, "--", "--of_flink", "1"]) == (
        ours,
        [*beams, "--of_flink", "1"],
    )
    options = script.parse_beam_options(beams).get_all_options()
    assert options["runner"] == "a"
    assert options["streaming"] is True
    assert options["num_workers"] == 3


def test_beam_and_our_flags_share_only_num_workers(beam):
    values = flags.FlagValues()
    script.define_flags(values)
    options = script.parse_beam_options([]).get_all_options()
    assert len(options) > 100
    assert set(options) & set(values) == {"num_workers"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            "--vocab_fil=x",
            "Neither bert_tf nor Beam knows --vocab_fil. Do you "
            "mean --vocab_file",
        ),
        ("--runer=x", "Do you mean --runner"),
        ("--zzzz", "knows --zzzz. Options that only a job server knows"),
        ("--direct_running_mode=x", "direct_running_mode.*multi_processing"),
        ("--direct_num_workers=x", "direct_num_workers.*invalid int value"),
    ],
)
def test_an_error_names_an_unknown_or_bad_option(beam, wrong, message):
    with pytest.raises(InputError, match=message):
        script.split_arguments(["--input_file=a", wrong])


# ---------------------------------------------------------------- without Beam


def test_without_beam_the_error_says_how_to_install_it(monkeypatch):
    for name in [*sys.modules]:
        if name.partition(".")[0] == "apache_beam":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    install = re.escape('pip install "bert_tf[beam]"')
    with pytest.raises(InputError, match=install):
        script.split_arguments(["--input_file=a", "--runner=x"])
    with pytest.raises(InputError, match=install):
        script.main(parse(script, arguments("a", "x")))


def test_help_is_ours_and_needs_no_beam():
    assert script.split_arguments(["--help"]) == (["--help"], [])


@pytest.mark.parametrize(
    ("error", "mistake"),
    [
        (InputError("a, line 2: b [while running 'Make']"), "a, line 2: b"),
        (
            RuntimeError(
                "Traceback (most recent call last):\n  File x\n"
                "bert_tf.errors.InputError: a, line 2: b\n\n"
                "During handling of the above exception\n"
                "bert_tf.errors.InputError: a, line 2: b [while running 'Make']"
            ),
            "a, line 2: b",
        ),
        (RuntimeError("Job failed."), None),
    ],
    ids=["in this process", "in another", "something else"],
)
def test_the_message_of_a_worker_is_found_in_that_of_a_runner(error, mistake):
    assert beam_shards.find_input_error(error) == mistake


def test_flags_are_those_of_create_pretraining_data():
    ours, theirs = flags.FlagValues(), flags.FlagValues()
    script.define_flags(ours)
    local.define_flags(theirs)
    assert set(ours) == set(theirs)
    for name in set(theirs) - {"num_workers"}:
        assert ours[name].default == theirs[name].default


def test_a_stopped_job_is_resumed(
    no_beam, corpus, expected, tmp_path, monkeypatch
):
    def stop(todo, options, notes, beam_options):
        for shard in todo[:3]:
            beam_shards.make_shard(shard, options, notes.path)
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(beam_shards, "run_pipeline", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            run(corpus, tmp_path)
    assert notes(tmp_path)["finished"] == {}
    before = times(tmp_path)
    assert len(before) == 3

    run(corpus, tmp_path)

    assert content(tmp_path) == content(expected)
    assert notes(tmp_path) == notes(expected)
    assert times(tmp_path) | before == times(tmp_path)
    assert len(os.listdir(tmp_path)) == 5


def test_a_job_whose_notes_were_removed_begins_anew(
    no_beam, corpus, expected, tmp_path
):
    run(corpus, tmp_path)
    [name, *_] = sorted(content(tmp_path))
    kept = {name: notes(tmp_path)["finished"][name]}
    (tmp_path / "x.00000.json").write_text(json.dumps(kept))
    (tmp_path / "x.json").unlink()
    before = times(tmp_path)

    run(corpus, tmp_path)

    assert content(tmp_path) == content(expected)
    after = times(tmp_path)
    assert not [name for name in before if after[name] == before[name]]


def test_notes_of_single_shards_match_no_pattern_of_shards(
    no_beam, corpus, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(beam_shards, "take_single_notes", lambda shards: {})
    run(corpus, tmp_path)
    assert sorted(content(tmp_path)) == sorted(content(expected))
    assert (tmp_path / "x.00002.json").exists()


def test_nothing_is_left_to_do_the_second_time(
    no_beam, corpus, tmp_path, monkeypatch
):
    run(corpus, tmp_path)
    before = times(tmp_path)
    monkeypatch.setattr(beam_shards, "run_pipeline", None)
    run(corpus, tmp_path)
    assert times(tmp_path) == before


def test_a_worker_that_sees_another_folder_says_so(tmp_path):
    shard = shards.Shard(0, [], 1, str(tmp_path / "x-00000-of-00001"))
    with pytest.raises(InputError, match=r"does not see .*x\.json"):
        beam_shards.make_shard(shard, None, str(tmp_path / "x.json"))


def test_files_that_a_job_should_have_written_are_missed(
    no_beam, corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(beam_shards, "run_pipeline", lambda *_: True)
    with pytest.raises(InputError, match="x-00000-of-00004 is not there"):
        run(corpus, tmp_path)


def test_a_job_that_is_not_waited_for_has_no_summary_yet(
    no_beam, corpus, tmp_path, monkeypatch
):
    made = []
    monkeypatch.setattr(beam_shards, "run_pipeline", lambda *_: False)
    monkeypatch.setattr(record_files, "report", made.append)
    run(corpus, tmp_path)
    assert not made


def test_a_worker_removes_what_killed_ones_of_its_machine_left(
    no_beam, corpus, tmp_path, monkeypatch
):
    make = beam_shards.run_pipeline

    def leave_something_and_make(*given):
        left = f"x-00001-of-00004.{socket.gethostname()}-999999999.incomplete"
        (tmp_path / left).write_bytes(b"half")
        return make(*given)

    monkeypatch.setattr(beam_shards, "run_pipeline", leave_something_and_make)
    run(corpus, tmp_path)
    assert len(content(tmp_path)) == 4
