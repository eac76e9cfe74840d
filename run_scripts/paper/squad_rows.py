"""Rows of SQuAD, of which several tables have some."""

from paper_runs import Row

FLAGS = {
    "do_train": True,
    "do_predict": True,
    "max_seq_length": 384,
    "doc_stride": 128,
    "max_query_length": 64,
    "predict_batch_size": 32,
}


def squad_row(version, results, name=None, checkpoint=None, **flags):
    """The `Row` of a version.

    Args:
        version: "v1.1" or "v2.0", as in the files' names.
        results: the `Result`s, whose numbers are in percent.
        name: of the row, if it is not that of the data.
        checkpoint: folder of the row's own model.
        flags: besides `FLAGS`.
    """
    files = f"train-{version}.json", f"dev-{version}.json"
    train, dev = (f"{{data}}/{file}" for file in files)
    return Row(
        name=name or f"SQuAD {version}",
        command="run_squad",
        data="squad",
        files=files,
        flags={**FLAGS, "train_file": train, "predict_file": dev, **flags},
        results=results,
        checkpoint=checkpoint,
    )
