"""A number for each text: regression."""

import dataclasses
import logging
from typing import ClassVar

import numpy as np

from bert_tf.data.tables import BadValue
from bert_tf.errors import InputError
from bert_tf.tasks import metrics, pictures
from bert_tf.tasks.classification.target import NUMBER, mean_losses
from bert_tf.tasks.labels import read_number
from bert_tf.tasks.task import Evaluation

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Number:
    """Each text has a number; the model's only logit is the prediction.

    Attributes:
        bounds: the lowest label and the highest, to which predictions in words
            are clipped; None for none.
    """

    bounds: tuple[float, float] | None = None

    label_type: ClassVar[str] = NUMBER
    wrong_measure: ClassVar[str] = "error"
    labels: ClassVar[tuple[str, ...]] = ()
    num_outputs: ClassVar[int] = 1
    record_shape: ClassVar[tuple[int, ...]] = ()
    record_dtype: ClassVar[str] = "float32"
    blank: ClassVar[float] = 0.0
    results: ClassVar[tuple[str, ...]] = (
        "eval_loss",
        "loss",
        "eval_mae",
        "eval_mse",
        "eval_pearson",
        "eval_pearson_and_spearman",
        "eval_spearman",
    )

    def read(self, values):
        number = read_number("label_col", values["label_col"])
        if self.bounds is not None:
            lowest, highest = self.bounds
            if not lowest <= number <= highest:
                raise BadValue(
                    f"label_col: {values['label_col']}",
                    f"a number from {lowest:g} to {highest:g}",
                )
        return number

    def names_in(self, label):
        return ()

    def learned(self, found):
        numbers = np.array(list(found))
        mean, deviation = numbers.mean(), numbers.std()
        _LOGGER.info(
            "Training labels: mean %.6g, deviation %.6g, from %.6g to %.6g.",
            mean,
            deviation,
            numbers.min(),
            numbers.max(),
        )
        if deviation == 0:
            _LOGGER.warning("All training labels are %.6g", mean)
        elif not 0.2 <= deviation <= 5 or abs(mean) > 10 * max(deviation, 1):
            _LOGGER.warning(
                "The training labels have the mean %.6g and the deviation "
                "%.6g. A deviation near 1 trains better: write (label - mean) "
                "/ deviation into the files, and undo it for predictions",
                mean,
                deviation,
            )
        return self

    def with_labels(self, labels):
        return self

    def balanced_weights(self, found):
        raise _no_weights()

    def with_weights(self, weights):
        raise _no_weights()

    def encode(self, label):
        return float(label)

    def describe(self, label):
        return f"{label:g}"

    def losses(self, logits, label_ids):
        from bert_tf import heads

        return heads.regression_loss(logits, label_ids)[1]

    def teacher_losses(self, logits, teacher_logits, temperature):
        # A number has no probabilities for a temperature to change.
        return self.losses(logits, teacher_logits[:, 0])

    def chance_loss(self, found):
        return float(np.var(found))

    def fitted(self, label_ids, logits):
        return self

    def evaluate(self, label_ids, logits, is_real, batch_size):
        values = logits[:, 0].astype(np.float64)
        losses = (values - label_ids) ** 2
        truth, given = label_ids[is_real], values[is_real]
        warnings = []
        if len(given) > 1 and np.ptp(given) == 0:
            warnings.append(
                f"All {len(given)} predictions are constant, {given[0]:g}: "
                "their correlation with the labels is not defined (nan)"
            )
        pearson = metrics.pearson(truth, given)
        spearman = metrics.spearman(truth, given)
        return Evaluation(
            mean_losses(losses, is_real, batch_size),
            {
                "eval_pearson": pearson,
                "eval_spearman": spearman,
                "eval_pearson_and_spearman": (pearson + spearman) / 2,
                "eval_mse": metrics.mean_squared_error(truth, given),
                "eval_mae": metrics.mean_absolute_error(truth, given),
            },
            {pictures.PICTURE: pictures.draw_numbers(truth, given)},
            warnings=warnings,
        )

    def compare(self, logits, teacher_logits):
        both = (x[:, 0] for x in (teacher_logits, logits))
        return {"eval_teacher_mse": metrics.mean_squared_error(*both)}

    def wrong_confidence(self, label_ids, logits):
        return np.abs(logits[:, 0].astype(np.float64) - label_ids)

    def names(self, label_ids):
        return [f"{value:g}" for value in label_ids]

    def scores(self, logits):
        """The predicted numbers, float32 [N, 1]."""
        return logits[:, :1].astype(np.float32)

    def predictions(self, logits):
        values = logits[:, 0]
        if self.bounds is not None:
            values = np.clip(values, *self.bounds)
        return [f"{value + 0.0:.3f}" for value in values]

    def columns(self, logits):
        return [("value", self.scores(logits)[:, 0])]


def _no_weights() -> InputError:
    return InputError(
        "`--class_weights` needs labels: with --label_type=number there are "
        "none"
    )
