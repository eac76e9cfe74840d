"""Whether the loss of a finished training has moved."""

from collections.abc import Sequence

import numpy as np

from bert_tf.training.settings import TrainingSettings

# Means over fewer say little: the loss of one example deviates by about half of
# chance, and so the mean of 100 by 5 % of it.
LEAST_STEPS, LEAST_EXAMPLES = 10, 100
PARTS = 4
"""The first and the last of so many parts of a training are compared."""

ABOUT = 0.95
"""What counts as chance: over this share of its loss."""


def find_fault(
    losses: Sequence[float] | np.ndarray,
    chance: float,
    settings: TrainingSettings,
    resumed: bool,
) -> str | None:
    """What to tell of a training that has learned nothing, or None.

    There is a fault if the last quarter of the losses has about the mean of
    chance. Or it is not lower than the first quarter, by twice the standard
    error; but not if the training was resumed, and not below half of chance:
    there it may have begun with weights that had little to learn.

    Args:
        losses: of the steps taken, [N].
        chance: the lowest loss of a model that gives the same answer to every
            example.
        settings: of the training.
        resumed: whether steps were taken before these.
    """
    values = np.asarray(losses, np.float64)
    values = values[np.isfinite(values)]
    size = len(values) // PARTS
    if (
        chance <= 0
        or size < LEAST_STEPS
        or size * settings.batch_size < LEAST_EXAMPLES
    ):
        return None
    parts = values[:size], values[-size:]
    first, last = (float(part.mean()) for part in parts)
    noise = float(np.sqrt(sum(part.var(ddof=1) / size for part in parts)))
    is_lower = first - last > 2 * noise
    is_flat = not is_lower and not resumed and last > chance / 2
    if last < ABOUT * chance and not is_flat:
        return None
    has_risen = last - first > 2 * noise
    # The first steps of a warm-up change next to nothing.
    has_jumped = values.max() > 3 * values[:3].mean()
    how = "is no lower than by chance"
    if not is_lower:
        how = "has risen" if has_risen else "has not moved"
    return (
        f"The loss {how}: its mean is {last:.4g} over the last {size} steps, "
        f"and was {first:.4g} over the first {size}"
        f"{' since the training was resumed' if resumed else ''}. The same "
        f"answer to every example would have {chance:.4g}. "
        f"{_advice(has_risen or has_jumped, settings)}"
    )


def _advice(has_grown: bool, settings: TrainingSettings) -> str:
    rate = f"--learning_rate ({settings.learning_rate:g} now"
    # Without it the first hundreds of steps are several times as long.
    is_corrected = settings.bias_correction or settings.optimizer == "lamb"
    correction = "" if is_corrected else "--bias_correction, "
    if has_grown:
        return (
            f"Try a lower {rate}; 2e-5 to 5e-5 for the released models), "
            f"{correction}or more warm-up steps"
        )
    return (
        f"Try another {rate}; 2e-5 to 5e-5 for the released models, 1e-4 to "
        f"1e-3 for small ones), {correction}more steps, and see whether the "
        "labels go with their texts"
    )
