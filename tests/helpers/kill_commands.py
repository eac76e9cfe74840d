"""Kills commands at random moments, and starts each of them again.

    python tests/helpers/kill_commands.py --kills 100

Each command that writes is run once undisturbed. Then it is killed (SIGKILL)
after a random part of that time, or a random moment after it has begun to
write, and run again. Exits with code 0 if the second run ended well, wrote what
the undisturbed one did, and left nothing else, not in TMPDIR either.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"
TINY = GOLDEN / "checkpoints" / "tiny"
MRPC = GOLDEN / "classification" / "mrpc" / "data"

TEXT = "The old park was made by Ann.\nShe liked the trees.\n\n" * 60

MODEL = {
    "vocab_file": TINY / "vocab.txt",
    "bert_config_file": TINY / "bert_config.json",
}
TRAINING = {
    **MODEL,
    "init_checkpoint": TINY / "bert_model.ckpt",
    "do_train": True,
    "max_seq_length": 24,
    "train_batch_size": 8,
    "save_checkpoints_steps": 3,
    "seed": 1,
    "output_dir": "OUT/run",
}
PRETRAINING_DATA = {
    "input_file": "text.txt",
    "vocab_file": TINY / "vocab.txt",
    "max_seq_length": 32,
    "max_predictions_per_seq": 5,
    "dupe_factor": 3,
}
COMMANDS = {
    "run_classifier": {
        **TRAINING,
        "task_name": "MRPC",
        "data_dir": MRPC,
        "num_train_epochs": 2,
        "do_eval": True,
        "eval_every_steps": 3,
        "keep_best": "eval_accuracy",
    },
    "run_pretraining": {
        **{name: TRAINING[name] for name in TRAINING if name != "vocab_file"},
        "input_file": "records",
        "max_seq_length": 32,
        "max_predictions_per_seq": 5,
        "num_train_steps": 24,
        "num_warmup_steps": 2,
        "do_eval": True,
    },
    "create_pretraining_data": {**PRETRAINING_DATA, "output_file": "OUT/x"},
    "create_pretraining_data shards": {
        **PRETRAINING_DATA,
        "output_file": "OUT/x",
        "num_workers": 2,
        "num_shards": 4,
    },
    "extract_features": {
        **MODEL,
        "init_checkpoint": TINY / "bert_model.ckpt",
        "input_file": "text.txt",
        "output_file": "OUT/x.npz",
        "output_format": "npz",
        "layers": "-1",
        "max_seq_length": 24,
    },
    "fill_mask": {
        **MODEL,
        "checkpoint": TINY / "bert_model.ckpt",
        "input_file": "masks.txt",
        "output_file": "OUT/x.jsonl",
    },
    "learn_vocab": {
        "input_file": "text.txt",
        "output_file": "OUT/vocab.txt",
        "vocab_size": 145,
    },
    "extend_vocab": {
        **MODEL,
        "init_checkpoint": TINY / "bert_model.ckpt",
        "words": "qwertz,yxcvb",
        "grow": True,
        "output_dir": "OUT/new",
    },
    "extend_positions": {
        **MODEL,
        "init_checkpoint": TINY / "bert_model.ckpt",
        "max_position_embeddings": 160,
        "output_dir": "OUT/new",
    },
    "convert_checkpoint to_hf": (TINY, "--output", "OUT/hf"),
    "convert_checkpoint strip": (TINY, "--output", "OUT/x.ckpt"),
    "convert_checkpoint from_hf": ("hf", "--output", "OUT/new"),
    "export_saved_model": {
        **MODEL,
        "checkpoint": TINY / "bert_model.ckpt",
        "head": "pretraining",
        "output_dir": "OUT/model",
    },
}
# Two undisturbed exports differ in these as well: maps in protocol buffers have
# no order, and a fingerprint has a random part.
NEVER_THE_SAME = ("/fingerprint.pb", "/tf_serving_warmup_requests")

# These write nothing more where they have finished before they were killed.
FINISHED = re.compile(r"Already there|must be a folder that is not there yet")


@dataclasses.dataclass
class Undisturbed:
    """What a command wrote that nothing happened to, and its seconds."""

    seconds: float
    first: float
    files: dict[str, str]


class Place:
    """A folder with input, output and temporary files for one command."""

    def __init__(self, folder, name):
        self.folder = folder
        self.name = name
        self.out = folder / "out"
        self.temporary = folder / "tmp"
        for path in (self.out, self.temporary):
            path.mkdir(parents=True)
        (folder / "text.txt").write_text(TEXT)
        (folder / "masks.txt").write_text("the [MASK] is old .\n" * 40)

    def command(self, name=None):
        """The command line of a command, by default of the place's own."""
        name = name or self.name
        module, *words = name.split()
        given = COMMANDS[name]
        if isinstance(given, dict):
            given = [f"--{flag}={value}" for flag, value in given.items()]
            words = []
        words = [*words, *map(str, given)]
        words = [word.replace("OUT", str(self.out)) for word in words]
        return [sys.executable, "-m", f"bert_tf.{module}", *words]

    def start(self, name=None):
        """Starts a command."""
        with open(self.folder / "log", "w") as log:
            return subprocess.Popen(
                self.command(name),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(REPOSITORY),
                    "TMPDIR": str(self.temporary),
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                },
            )

    def log(self):
        """What the last process wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def prepare(self):
        """Makes the input that another command makes."""
        if self.name == "run_pretraining":
            self.start("create_pretraining_data").wait()
            os.rename(self.out / "x", self.folder / "records")
        if self.name == "convert_checkpoint from_hf":
            self.start("convert_checkpoint to_hf").wait()
            os.rename(self.out / "hf", self.folder / "hf")

    def clear(self):
        """Removes all output."""
        shutil.rmtree(self.out)
        self.out.mkdir()

    def names(self):
        """All files in the output folder."""
        return {
            str(path.relative_to(self.out)): path
            for path in sorted(self.out.rglob("*"))
            if path.is_file()
        }

    def contents(self):
        """{name: checksum} of what was written.

        TensorBoard's files have times in their names; a second version of an
        export, made after a kill that came too late, is left out.
        """
        found = {}
        for name, path in self.names().items():
            if ".tfevents." in name or re.match("model/[2-9]/", name):
                continue
            content = path.read_bytes()
            if name.endswith(NEVER_THE_SAME):
                content = b""
            found[name] = hashlib.sha256(content).hexdigest()
        return found


def run_undisturbed(place):
    """Runs a command once."""
    began = time.monotonic()
    process, first = place.start(), None
    while process.poll() is None:
        if first is None and place.names():
            first = time.monotonic() - began
        time.sleep(0.01)
    seconds = time.monotonic() - began
    if process.returncode:
        sys.exit(f"{place.name} does not run:\n{place.log()[-2000:]}")
    return Undisturbed(seconds, first or seconds, place.contents())


def kill_once(place, undisturbed, rng):
    """Kills a command and runs it again; returns (moment, half-written, bad).

    Two kills of three come after the command has begun to write.
    """
    place.clear()
    began = time.monotonic()
    process = place.start()
    if rng.random() < 2 / 3:
        moment = rng.uniform(undisturbed.first * 0.9, undisturbed.seconds)
    else:
        moment = rng.uniform(0, undisturbed.seconds)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    process.kill()
    process.wait()
    moment = time.monotonic() - began
    half = [name for name in place.names() if name not in undisturbed.files]
    process = place.start()
    code = process.wait()
    faults = []
    if code and not FINISHED.search(place.log()):
        faults.append(f"the second run ended with {code}: {place.log()[-600:]}")
    got = place.contents()
    for name in sorted(got.keys() | undisturbed.files.keys()):
        if got.get(name) != undisturbed.files.get(name):
            faults.append(
                f"lost: {name}"
                if name not in got
                else f"left over: {name}"
                if name not in undisturbed.files
                else f"other content: {name}"
            )
    left = [name for name in os.listdir(place.temporary) if "bert_tf" in name]
    faults += [f"left over in TMPDIR: {name}" for name in left]
    return moment, half, faults


def run(names, kills, seed, folder):
    """Kills commands in turn; returns the faults, and prints a line for each.

    Args:
        names: keys of `COMMANDS`.
        kills: how many.
        seed: of the moments.
        folder: an empty one to work in.
    """
    rng = random.Random(seed)
    places = []
    for number, name in enumerate(names):
        place = Place(folder / str(number), name)
        place.prepare()
        places.append((place, run_undisturbed(place)))
    all_faults, inside = [], 0
    for number in range(kills):
        place, undisturbed = places[number % len(places)]
        moment, half, faults = kill_once(place, undisturbed, rng)
        inside += bool(half)
        print(
            f"{number + 1:4}  {place.name:30}  at {moment:5.2f} of "
            f"{undisturbed.seconds:5.2f} s  {len(half)} unfinished  "
            f"{'; '.join(faults) or 'fine'}",
            flush=True,
        )
        all_faults += [(place.name, fault) for fault in faults]
    print(f"{kills} kills, {inside} left files; {len(all_faults)} faults")
    return all_faults


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="commands, separated by commas")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(COMMANDS)
    with tempfile.TemporaryDirectory(prefix="kill_commands_") as folder:
        faults = run(
            names, arguments.kills, arguments.seed, pathlib.Path(folder)
        )
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
