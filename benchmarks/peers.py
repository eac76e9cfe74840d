r"""Runs bert_tf beside other implementations of BERT in a comparing harness.

    python benchmarks/peers.py --harness HARNESS --data DATA --venvs VENVS \
        --rounds 3 --workloads infer_b1_s128,infer_b32_s128

HARNESS is a folder with `common.py`, `drive.py` and `suite.json`; its README
says how the environments (folders of VENVS) and files (DATA) of the others are
made. This program adds rows for bert_tf to the suite, and rows for others that
get texts sorted by length, and starts `drive.py` with all other options as
given. bert_tf runs in the Python that runs this program. `--prepare` first
writes bert_tf's own files into DATA. `--short` runs only the workloads of
`SHORT` in rows of reduced precision, so that more rounds fit into an hour.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ADAPTER = HERE / "peers_adapter.py"

# id: variant, and other keys of a row; see the harness's README.
ROWS = {
    "bert_tf": {"variant": "fp32", "trains": True},
    "bert_tf padded": {"variant": "fp32+padded", "only": ["infer_mixed"]},
    "bert_tf SavedModel": {"variant": "saved_model", "only": ["startup"]},
    "bert_tf bf16": {
        "variant": "bf16",
        "trains": True,
        "approx": True,
        "not": ["startup"],
    },
}
# The workloads that `--short` leaves in rows of reduced precision.
SHORT = ["infer_b1_s128", "infer_b32_s128", "train_cls_b32_s128"]
# Others with texts sorted by the caller, which is their best case.
SORTED = {
    "onnxruntime fused sorted": ("ort", "ort.py", "fused+sorted"),
    "openvino fp32 sorted": ("ov", "openvino_bert.py", "fp32+sorted"),
}


def rows(harness, venv):
    """Rows of `suite.json`: those that measure bert_tf, and `SORTED`."""
    common = {
        "venv": venv,
        "script": str(ADAPTER),
        "env": {"BENCH_HOME": str(harness), "TF_CPP_MIN_LOG_LEVEL": "2"},
    }
    ours = [{"id": name, **common, **row} for name, row in ROWS.items()]
    return ours + [
        {
            "id": name,
            "venv": of_other,
            "script": script,
            "variant": variant,
            "only": ["infer_mixed"],
        }
        for name, (of_other, script, variant) in SORTED.items()
    ]


def main():
    """Writes the suite, and runs the harness."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--harness", required=True, type=pathlib.Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--config", default="base", choices=("base", "mini"))
    parser.add_argument(
        "--prepare", action="store_true", help="write bert_tf's files first"
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help=f"rows of reduced precision run {SHORT} only",
    )
    arguments, others = parser.parse_known_args()
    harness = arguments.harness.resolve()
    common = ["--data", arguments.data, "--config", arguments.config]
    if arguments.prepare:
        subprocess.run(
            [sys.executable, str(ADAPTER), *common, "--prepare"],
            env={**os.environ, "BENCH_HOME": str(harness)},
            check=True,
        )
    suite = json.loads((harness / "suite.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="bert_tf_peers_") as folder:
        # A path of its own replaces the folder of environments.
        suite += rows(harness, sys.prefix)
        for row in suite:
            if arguments.short and row.get("approx"):
                row["only"] = SHORT
        path = pathlib.Path(folder) / "suite.json"
        path.write_text(json.dumps(suite), encoding="utf-8")
        command = [sys.executable, str(harness / "drive.py"), *common]
        sys.exit(
            subprocess.run([*command, "--suite", str(path), *others]).returncode
        )


if __name__ == "__main__":
    main()
