"""The summary at the end of a command that trains."""

import logging

import pytest
from absl import flags as absl_flags

from bert_tf import run_classifier, run_pretraining
from bert_tf.cli import closing, command_line


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="absl")
    return caplog


def parse(folder, command=run_classifier, **given):
    values = absl_flags.FlagValues()
    command.define_flags(values)
    needed = {
        run_classifier: {"task_name": "mrpc", "data_dir": "x"},
        run_pretraining: {"input_file": "x"},
    }
    given = {**needed[command], "output_dir": folder, **given}
    words = [f"--{name}={value}" for name, value in given.items()]
    command_line.parse(values, ["command", *words])
    return values


def summary_of(log, folder, write, head="classifier", chief=True, **given):
    flags = parse(folder, **given)
    with closing.summary(flags, head, lambda: "eval_f1", chief):
        write()
    return log.messages[-1].splitlines() if log.messages else []


def has_checkpoint(folder):
    """Writes the file that names a checkpoint."""
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"')


def test_it_lists_what_was_written_and_no_more(log, tmp_path):
    for name in ("labels.txt", "eval_results.txt"):
        (tmp_path / name).write_text("eval_f1 = 0.1\n")

    def write():
        for name in ("index", "data-00000-of-00001"):
            (tmp_path / f"model.ckpt-7.{name}").write_text("")
        (tmp_path / "events.out.tfevents.1.host").write_text("")
        (tmp_path / "eval").mkdir()
        (tmp_path / "eval" / "events.out.tfevents.1.host").write_text("")
        results = "eval_accuracy = 0.5\nglobal_step = 7\neval_f1 = 0.25\n"
        (tmp_path / "eval_results.txt").write_text(results)

    lines = summary_of(log, tmp_path, write)

    assert "eval_f1 = 0.25" in lines[1] and "step 7" in lines[1]
    listed = " ".join(lines).split()
    for name in ("eval/", "eval_results.txt", "model.ckpt-7.*"):
        assert listed.count(name) == 1 or name == "eval_results.txt"
    assert "events.out.tfevents.*" in listed
    assert "labels.txt" not in listed


def test_results_of_an_earlier_run_are_not_shown(log, tmp_path):
    (tmp_path / "eval_results.txt").write_text("eval_f1 = 0.25\n")
    lines = summary_of(log, tmp_path, lambda: None)
    assert "0.25" not in " ".join(lines)


def test_of_several_runs_it_shows_the_mean(log, tmp_path):
    def write():
        rows = ["result mean deviation run_1 run_2", "eval_f1 0.5 0.1 0.4 0.6"]
        text = "".join("\t".join(row.split()) + "\n" for row in rows)
        (tmp_path / "runs.tsv").write_text(text)

    (tmp_path / "run_1").mkdir()
    has_checkpoint(tmp_path / "run_1")
    lines = summary_of(log, tmp_path, write, num_runs=2)

    for fact in ("eval_f1", "mean 0.5", "deviation 0.1", "2 runs"):
        assert fact in lines[1]
    assert f"--checkpoint={tmp_path}/run_1" in lines[-1]


@pytest.mark.parametrize("head", [*closing.USES, "choices"])
def test_what_is_next_are_commands_with_the_folder(log, tmp_path, head):
    folder = tmp_path / "two words"
    folder.mkdir()
    has_checkpoint(folder)

    lines = summary_of(log, folder, lambda: None, head)

    commands = lines[lines.index("  Next:") + 1 :]
    assert all(f"--checkpoint='{folder}'" in one for one in commands)
    assert f"--head={head}" in commands[-1]
    assert len(commands) == 1 + (head in closing.USES)


def test_without_a_checkpoint_nothing_is_next(log, tmp_path):
    lines = summary_of(log, tmp_path, lambda: None)
    assert lines == ["***** Done *****"]


def test_after_an_export_it_is_to_be_served(log, tmp_path):
    lines = summary_of(log, tmp_path, lambda: None, do_export=True)
    assert lines[-1].split()[-2:] == ["bert_tf.serve", f"{tmp_path}/export"]


def test_pretraining_has_no_runs_and_other_workers_say_nothing(log, tmp_path):
    more = {"command": run_pretraining, "head": "pretraining"}
    assert summary_of(log, tmp_path, lambda: None, **more)
    log.clear()
    assert not summary_of(log, tmp_path, lambda: None, chief=False)


def test_a_command_that_fails_has_no_summary(log, tmp_path):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        summary_of(log, tmp_path, fail)
    assert not log.messages
