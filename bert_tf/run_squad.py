r"""Fine-tunes BERT to answer questions about texts, and predicts answers.

The original's run_squad.py: same flags, same files in the output folder.

  python -m bert_tf.run_squad --do_train=true --train_file=train-v1.1.json \
    --do_predict=true --predict_file=dev-v1.1.json \
    --vocab_file=BERT/vocab.txt --bert_config_file=BERT/bert_config.json \
    --init_checkpoint=BERT/bert_model.ckpt --train_batch_size=12 \
    --learning_rate=3e-5 --num_train_epochs=2.0 --max_seq_length=384 \
    --doc_stride=128 --output_dir=/tmp/squad_base

SQuAD 2.0, whose questions may have no answer: --version_2_with_negative=true.
If the predict file has the right answers, eval_results.txt says how good the
predictions are.
"""

import itertools
import math
import os
import random

from absl import logging

from bert_tf import heads, models
from bert_tf.checkpoints import folders as model_folders
from bert_tf.cli import (
    command_line,
    export_flags,
    model_flags,
    training_flags,
)
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import grouping, records
from bert_tf.errors import InputError
from bert_tf.exports import export
from bert_tf.support import files
from bert_tf.support.progress import counted
from bert_tf.tasks.squad import (
    answers as squad_answers,
)
from bert_tf.tasks.squad import (
    data,
    metrics,
    served,
    task,
)
from bert_tf.tasks.squad import windows as squad_windows
from bert_tf.tasks.squad.answers import AUTO, THRESHOLD_FILE
from bert_tf.training import devices, evaluation, loop, prediction
from bert_tf.training import start as training_start

# What the original shuffles the questions with, before it makes windows.
SHUFFLE_SEED = 12345

WINDOWS_LOGGED = 5


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string("train_file", None, "SQuAD JSON to train on: train-v1.1.json.")
    flags.string("predict_file", None, "SQuAD JSON to predict: dev-v1.1.json.")
    flags.integer(
        "max_seq_length",
        384,
        "Word pieces of an input; a longer text is cut into windows.",
    )
    flags.integer(
        "doc_stride", 128, "How far apart windows start, in word pieces."
    )
    flags.integer(
        "max_query_length", 64, "Word pieces of a question; the rest is cut."
    )
    flags.boolean("do_train", False, "Train on --train_file.")
    flags.boolean("do_predict", False, "Predict the answers of --predict_file.")
    flags.integer("train_batch_size", 32, "Windows in a training step.")
    flags.integer("predict_batch_size", 8, "Windows in a batch of prediction.")
    model_flags.define_text(flags)
    model_flags.define_training(flags)
    model_flags.define_epochs(flags, "the questions")
    flags.integer("n_best_size", 20, "Answers in nbest_predictions.json.")
    flags.integer("max_answer_length", 30, "The most word pieces of an answer.")
    flags.boolean(
        "verbose_logging",
        False,
        "Log where an answer could not be found in the words it comes from.",
    )
    flags.boolean(
        "version_2_with_negative",
        False,
        "Questions may have no answer, as in SQuAD 2.0.",
    )
    flags.number_or(
        AUTO,
        "null_score_diff_threshold",
        0.0,
        "With --version_2_with_negative: a question is left unanswered if the "
        "score of no answer is above that of the best one by more than this. "
        "auto: what gives the best F1 on --predict_file if that has answers, "
        f"and is then kept in {THRESHOLD_FILE}; else what is kept there.",
    )

    flags.boolean(
        "exact_answers",
        False,
        "Take answers by the characters their word pieces were made from. "
        "The original loses some answers to train on, and predicts whole "
        "words, where the tokenizer changes text: accents, Hangul, special "
        "spaces.",
    )
    flags.boolean(
        "skip_padding",
        False,
        "Predict windows of about one length together, padded to what they "
        "need: quicker by the padding that is saved. In the original padding "
        "takes places among the --n_best_size starts and ends; without it "
        "nbest_predictions.json may have more answers, and other "
        "probabilities.",
    )
    flags.choice(
        "on_bad_answer",
        data.SKIP,
        [data.SKIP, data.STOP],
        "What to do with an answer to train on that is not where --train_file "
        "says: leave the question out, with a warning, or stop.",
    )
    training_flags.define(flags)
    export_flags.define(flags)


def main(flags):
    """Does what the parsed flags ask for."""
    config = check_flags(flags)
    strategy = devices.find_strategy(flags)
    tokenizer = model_flags.load_tokenizer(flags, config)
    # All files are read before any work starts: a bad one should not cost a
    # night of training.
    train_examples = predict_examples = threshold = None
    if flags.do_train:
        train_examples = data.read_squad_examples(
            flags.train_file,
            is_training=True,
            version_2_with_negative=flags.version_2_with_negative,
            on_bad_answer=flags.on_bad_answer,
            exact_answers=flags.exact_answers,
        )
        training_flags.count_steps(flags, len(train_examples))
    evaluates = flags.do_train and flags.eval_every_steps
    if flags.do_predict or evaluates:
        predict_examples = data.read_squad_examples(
            flags.predict_file, is_training=False
        )
        threshold = find_threshold(flags, predict_examples)
    lacking = evaluates and why_no_metrics(
        predict_examples, flags.version_2_with_negative
    )
    if lacking:
        raise InputError(
            "`--eval_every_steps` needs right answers in --predict_file. In "
            f"{flags.predict_file} {lacking}."
        )
    if flags.do_export and not (flags.do_predict and threshold is None):
        # It is there already, or is never going to be.
        threshold_to_export(flags)
    files.make_folder("output_dir", flags.output_dir)
    export_dir = export_flags.find_export_dir(flags, flags.output_dir)

    seed = training_start.set_seed(flags.seed, strategy)
    devices.log_devices(strategy)
    start = training_start.find_starting_point(
        flags.output_dir, flags.init_checkpoint
    )
    if flags.do_export and not flags.do_train:
        export.checkpoint_of_run(
            flags.output_dir, flags.keep_best is not None, start.prefix
        )
    model = training_flags.build_model(
        flags,
        lambda: models.span(config, use_one_hot_embeddings=flags.use_tpu),
        config,
        start,
        strategy,
    )
    if flags.do_train or start.resumed:
        model_folders.complete(
            flags.output_dir, flags.bert_config_file, flags.vocab_file
        )
    work = QuestionAnswering(flags, config, tokenizer, model, strategy)
    step = start.step
    if flags.do_train:
        step = work.train(
            train_examples, start, seed, predict_examples, threshold
        )
    with devices.chief_alone(strategy) as is_chief:
        if is_chief:
            step = training_flags.use_best(flags, model, step)
            if flags.do_predict:
                work.predict(predict_examples, threshold, step)
            if flags.do_export:
                export_model(flags, start, export_dir)


def check_flags(flags):
    """The model's config, if the flags fit it and each other.

    Raises:
        InputError: names the flag.
    """
    if not (flags.do_train or flags.do_predict or flags.do_export):
        raise InputError(
            "At least one of `do_train` or `do_predict` must be True."
        )
    for action, name in (
        ("do_train", "train_file"),
        ("do_predict", "predict_file"),
        ("eval_every_steps", "predict_file"),
    ):
        if flags[action].value and not flags[name].value:
            raise InputError(
                f"If `{action}` is True, then `{name}` must be specified."
            )
        if flags[action].value:
            command_line.require_file(name, flags[name].value)
    config = model_flags.check_text(flags)
    model_flags.require_positions(flags, config)
    squad_windows.require_token_types(config.type_vocab_size)
    squad_windows.require_room(
        flags.max_seq_length, flags.doc_stride, flags.max_query_length
    )
    command_line.require_positive(
        flags, "predict_batch_size", "n_best_size", "max_answer_length"
    )
    model_flags.check_training(flags)
    model_flags.check_epochs(flags)
    training_flags.check(
        flags, config, result_names(flags.version_2_with_negative)
    )
    if flags.skip_padding and flags.use_tpu:
        raise InputError(
            "`--skip_padding` makes batches of many lengths, and a TPU needs "
            "them of one. Received: --skip_padding --use_tpu"
        )
    threshold = flags.null_score_diff_threshold
    if threshold == AUTO and not flags.version_2_with_negative:
        raise InputError(
            f"`--null_score_diff_threshold={AUTO}` has a meaning only with "
            "--version_2_with_negative=true: without it all questions are "
            "answered."
        )
    if threshold != AUTO and math.isnan(threshold):
        raise InputError(
            f"`--null_score_diff_threshold` must be a number or {AUTO}. "
            f"Received: --null_score_diff_threshold={threshold}"
        )
    return config


def result_names(version_2_with_negative):
    """What `--keep_best` may name: results that every file has."""
    if version_2_with_negative:
        return ["exact", "f1", "best_exact", "best_f1"]
    return ["exact_match", "f1"]


# ---------------------------------------------------------------- the threshold


def find_threshold(flags, examples):
    """The threshold to predict with; None to choose it on the predictions.

    Raises:
        InputError: it must be chosen, but nothing says what is right, and none
            was chosen before.
    """
    if flags.null_score_diff_threshold != AUTO:
        return flags.null_score_diff_threshold
    if why_no_metrics(examples, version_2_with_negative=True) is None:
        return None
    kept = find_kept_threshold(flags)
    if kept is None:
        raise InputError(
            f"`--null_score_diff_threshold={AUTO}` needs right answers to "
            f"choose by, and {flags.predict_file} has none. First predict a "
            "file that has, such as dev-v2.0.json, with the same --output_dir: "
            "the threshold is then kept in "
            f"{os.path.join(flags.output_dir, THRESHOLD_FILE)}"
        )
    return kept


def find_kept_threshold(flags):
    """What an earlier prediction chose; None if there was none."""
    folders = [flags.output_dir]
    if flags.init_checkpoint:
        is_folder = os.path.isdir(flags.init_checkpoint)
        parent = os.path.dirname(flags.init_checkpoint)
        folders.append(flags.init_checkpoint if is_folder else parent)
    for folder in folders:
        path = os.path.join(folder, THRESHOLD_FILE)
        if os.path.exists(path):
            return squad_answers.read_threshold(path)
    return None


def why_no_metrics(examples, version_2_with_negative):
    """What a file lacks to evaluate its predictions; None if nothing."""
    total = len(examples)
    unknown = sum(example.answers is None for example in examples)
    if unknown:
        return f"{unknown} of {total} questions have no key 'answers'"
    unanswered = sum(not example.answers for example in examples)
    if unanswered == total:
        return "no question has an answer"
    if unanswered and not version_2_with_negative:
        return (
            f"{unanswered} of {total} questions have no answer, which takes "
            "--version_2_with_negative=true"
        )
    return None


# ------------------------------------------------------------------- the export


def threshold_to_export(flags):
    """The threshold as a number.

    Raises:
        InputError: it is to be one that was chosen, and none was.
    """
    if flags.null_score_diff_threshold != AUTO:
        return flags.null_score_diff_threshold
    kept = find_kept_threshold(flags)
    if kept is None:
        raise InputError(
            f"`--null_score_diff_threshold={AUTO}` needs, for --do_export, a "
            "prediction of a file that has right answers, such as "
            "dev-v2.0.json: in this run, or earlier with the same --output_dir."
        )
    return kept


def export_model(flags, start, export_dir):
    """Writes a SavedModel of the checkpoint that the run has made or used."""
    checkpoint = export.checkpoint_of_run(
        flags.output_dir, flags.keep_best is not None, start.prefix
    )
    source = export_flags.source_of(flags, checkpoint)
    threshold = 0.0
    if flags.version_2_with_negative:
        threshold = threshold_to_export(flags)
    served.export_span(
        source,
        export_dir,
        flags.doc_stride,
        flags.max_query_length,
        flags.max_answer_length,
        flags.version_2_with_negative,
        threshold,
    )


# --------------------------------------------------------------------- the work


class QuestionAnswering:
    """The two things that this script does with one model."""

    def __init__(self, flags, config, tokenizer, model, strategy):
        self.flags = flags
        self.config = config
        self.tokenizer = tokenizer
        self.model = model
        self.strategy = strategy
        self._predictor = prediction.DatasetPredictor(model, strategy)
        self._folder = devices.work_folder(strategy, flags.output_dir)
        self._written = None

    def train(
        self, examples, start, seed, predict_examples=None, threshold=None
    ):
        """Trains from a `StartingPoint` to the last step, and returns it.

        The seed decides the order of the windows. Examples to predict, and a
        threshold as `predict` takes it, are for evaluation on the way.
        """
        flags, size = self.flags, self.flags.train_batch_size
        num_steps = training_flags.count_steps(flags, len(examples))
        examples = list(examples)
        random.Random(SHUFFLE_SEED).shuffle(examples)
        schema = task.squad_training_schema(flags.max_seq_length)
        file, num_windows = self._write_records(
            "train.tf_record",
            # Shuffled questions come back to any context.
            self._window_maker(documents_kept=None),
            examples,
            schema,
        )
        self._log("Running training", len(examples), num_windows, size)
        logging.info("  Num steps = %d", num_steps)
        return loop.train(
            self.model,
            lambda outputs, batch, totals: heads.span_loss(
                outputs["start_logits"],
                outputs["end_logits"],
                batch["start_positions"],
                batch["end_positions"],
                (totals or {}).get("examples"),
            ),
            lambda step: records.training_batches(
                [file],
                schema,
                size,
                seed,
                step,
                bucket_by_length=flags.bucket_by_length,
            ),
            start,
            training_flags.settings(
                flags,
                self.config,
                num_steps,
                int(num_steps * flags.warmup_proportion),
            ),
            self.strategy,
            evaluation=training_flags.evaluation(
                flags, lambda: self.results(predict_examples, threshold)
            ),
        )

    def results(self, examples, threshold):
        """How good predictions are; writes none.

        Args:
            examples: the questions.
            threshold: of null odds; None for what is best by right answers.
        """
        answers = {example.qas_id: example.answers for example in examples}
        predictions = [
            one._replace(nbest=[]) for one in self._predictions(examples)
        ]
        texts = {one.qas_id: one.text for one in predictions}
        odds = {one.qas_id: one.null_odds for one in predictions}
        if not self.flags.version_2_with_negative:
            return metrics.evaluate_v1(answers, texts)
        if threshold is None:
            chosen = metrics.choose_threshold(answers, texts, odds)
            threshold = chosen.threshold
        final = {one.qas_id: one.answer(threshold) for one in predictions}
        return {
            **metrics.evaluate_v2(answers, final),
            **metrics.evaluate_thresholds(answers, texts, odds),
        }

    def predict(self, examples, threshold, step):
        """Writes eval.tf_record, predictions, and how good they are.

        Args:
            examples: the questions.
            threshold: of null odds; None to choose it by the right answers.
            step: what the weights were trained to, for eval_results.txt.
        """
        predictions = []

        def nbest_lists():
            # Of each prediction only what is small stays in memory.
            for one in self._predictions(examples):
                predictions.append(one._replace(nbest=[]))
                yield one.qas_id, squad_answers.nbest_to_json(one.nbest)

        squad_answers.write_json(
            self._path("nbest_predictions.json"), nbest_lists()
        )
        answers = {example.qas_id: example.answers for example in examples}
        texts = {one.qas_id: one.text for one in predictions}
        odds = {one.qas_id: one.null_odds for one in predictions}
        if threshold is None:
            threshold = self._choose_threshold(answers, texts, odds)
        final = {one.qas_id: one.answer(threshold) for one in predictions}
        squad_answers.write_json(self._path("predictions.json"), final.items())
        if self.flags.version_2_with_negative:
            squad_answers.write_json(self._path("null_odds.json"), odds.items())
        logging.info("Wrote predictions to %s.", self.flags.output_dir)
        lacking = why_no_metrics(examples, self.flags.version_2_with_negative)
        if lacking:
            logging.info(
                "Not evaluated: in %s %s.", self.flags.predict_file, lacking
            )
        elif self.flags.version_2_with_negative:
            self._evaluate_v2(answers, final, texts, odds, threshold, step)
        else:
            results = metrics.evaluate_v1(answers, final)
            self._write_results(results, step)

    def _choose_threshold(self, answers, texts, odds):
        chosen = metrics.choose_threshold(answers, texts, odds)
        path = self._path(THRESHOLD_FILE)
        files.write_text(path, f"{chosen.threshold}\n")
        logging.info(
            "The threshold %s gives the best F1 on %s, %.4f; kept in %s.",
            chosen.threshold,
            self.flags.predict_file,
            chosen.score,
            path,
        )
        return chosen.threshold

    def _evaluate_v2(self, answers, final, texts, odds, threshold, step):
        results = metrics.evaluate_v2(answers, final)
        results |= metrics.evaluate_thresholds(answers, texts, odds)
        self._write_results(results, step, threshold)
        curves = metrics.precision_recall(answers, texts, odds)
        path = self._path("precision_recall.svg")
        files.write_text(path, metrics.draw_precision_recall(curves))
        logging.info("Wrote the precision-recall curves to %s.", path)

    def _write_results(self, results, step, threshold=None):
        more = {}
        if threshold is not None:
            more["null_score_diff_threshold"] = threshold
        evaluation.write_eval_results(
            self.flags.output_dir, {**results, "global_step": step}, more
        )

    def _predictions(self, examples):
        """The `Prediction` of each question, as soon as the model is done."""
        flags, size = self.flags, self.flags.predict_batch_size
        schema = task.squad_evaluation_schema(flags.max_seq_length)
        maker = self._window_maker(documents_kept=1)
        if self._written is None:
            self._written = self._write_records(
                "eval.tf_record",
                maker,
                examples,
                schema,
                # A TPU needs batches of one size.
                multiple_of=size if flags.use_tpu else 1,
            )
        file, num_windows = self._written
        self._log("Running predictions", len(examples), num_windows, size)
        dataset = records.evaluation_batches(
            [file],
            schema,
            size,
            drop_remainder=flags.use_tpu,
            group_by_length=flags.skip_padding,
        )
        batches = self._predictor(dataset)
        batches = counted(
            batches, num_windows, "Predicting", prediction.count_rows
        )
        rows = (
            self._logits_without_padding(batches)
            if flags.skip_padding
            else (
                (unique_id, squad_answers.Logits(start, end))
                for batch, out in batches
                for unique_id, start, end in zip(
                    batch["unique_ids"].tolist(),
                    out["start_logits"],
                    out["end_logits"],
                )
            )
        )
        settings = squad_answers.AnswerSettings(
            flags.n_best_size,
            flags.max_answer_length,
            flags.version_2_with_negative,
            flags.verbose_logging,
        )
        # Windows are made once more, which is cheap, rather than kept.
        for example, windows in maker.windows_by_example(examples):
            logits = dict(itertools.islice(rows, len(windows)))
            yield squad_answers.predict(
                example,
                windows,
                [logits[window.unique_id] for window in windows],
                settings,
                self.tokenizer.basic_tokenizer,
            )

    def _logits_without_padding(self, batches):
        """Pairs of unique id and `Logits` of a window's tokens, in order."""
        names = ("unique_ids", "input_mask", "start_logits", "end_logits")
        for row in grouping.rows_in_order(batches, names):
            count = int(row["input_mask"].sum())
            both = (row[name][:count] for name in names[2:])
            yield int(row["unique_ids"]), squad_answers.Logits(*both)

    def _window_maker(self, documents_kept):
        flags = self.flags
        return squad_windows.WindowMaker(
            self.tokenizer,
            flags.max_seq_length,
            flags.doc_stride,
            flags.max_query_length,
            flags.exact_answers,
            documents_kept,
        )

    def _write_records(self, name, maker, examples, schema, multiple_of=1):
        """Writes the windows of all examples; returns path and how many."""
        path = os.path.join(self._folder, name)
        length = self.flags.max_seq_length
        written = 0

        def rows():
            nonlocal written
            pairs = maker.windows_by_example(examples)
            label = f"Writing {path}, questions"
            for example, windows in counted(pairs, len(examples), label):
                for window in windows:
                    if written < WINDOWS_LOGGED:
                        logging.info(
                            "*** Example ***\n%s",
                            squad_windows.describe_window(example, window),
                        )
                    written += 1
                    yield window.record(length)
            for _ in range(-written % multiple_of):
                yield {
                    feature: [0] * schema[feature].length for feature in schema
                }

        records.write_records(path, rows(), schema, self.config.vocab_size)
        return path, written

    def _path(self, name):
        return os.path.join(self.flags.output_dir, name)

    def _log(self, title, num_examples, num_windows, batch_size):
        logging.info("***** %s *****", title)
        logging.info("  Num orig examples = %d", num_examples)
        logging.info("  Num split examples = %d", num_windows)
        logging.info("  Batch size = %d", batch_size)


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
