"""Flags of training with a teacher."""

import pytest
from absl import flags as absl_flags

from bert_tf import run_classifier, run_ner
from bert_tf.cli import command_line
from bert_tf.errors import InputError


def parse(command, **given):
    values = absl_flags.FlagValues()
    command.define_flags(values)
    given = {
        "data_dir": "data",
        "output_dir": "out",
        "do_train": True,
        "eval_every_steps": 1,
        **given,
    }
    words = [f"--{name}={value}" for name, value in given.items()]
    command_line.parse(values, ["command", *words])
    return values


@pytest.mark.parametrize(
    ("command", "metric", "more"),
    [
        (run_classifier, "eval_teacher_kl", {"task_name": "tsv"}),
        (run_classifier, "eval_mm_teacher_agreement", {"task_name": "mnli"}),
        (run_classifier, "eval_teacher_mse", {"task_name": "sts-b"}),
        (run_ner, "eval_teacher_agreement", {}),
    ],
)
def test_the_best_can_be_what_is_nearest_to_the_teacher(command, metric, more):
    given = {"keep_best": metric, **more}
    command.check_flags(parse(command, teacher="teacher", **given))
    with pytest.raises(InputError, match=f"keep_best={metric}"):
        command.check_flags(parse(command, **given))
    if metric == "eval_teacher_mse":
        given["keep_best"] = "eval_teacher_kl"
        with pytest.raises(InputError, match="eval_teacher_mse"):
            command.check_flags(parse(command, teacher="teacher", **given))
