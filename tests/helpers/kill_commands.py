"""Kills commands at random moments, and starts each of them again.

    cd tests && PYTHONPATH=.. python -m helpers.kill_commands --kills 100

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

from helpers import prepared
from helpers.killed_commands import COMMANDS, REPOSITORY, write_input

# Two undisturbed exports differ in these as well: maps in protocol buffers have
# no order, and a fingerprint has a random part.
NEVER_THE_SAME = (
    "/fingerprint.pb",
    "/tf_serving_warmup_requests",
    "/bert_tf_checksums.json",  # Of these two, among others.
)

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
        self.words = {"OUT": str(self.out), **write_input(folder, name)}

    def command(self, name=None):
        """The command line of a command, by default of the place's own."""
        name = name or self.name
        module, *words = name.split()
        given = COMMANDS[name]
        if isinstance(given, dict):
            given = [f"--{flag}={value}" for flag, value in given.items()]
            words = []
        words = [*words, *map(str, given)]
        for word, meant in self.words.items():
            words = [one.replace(word, meant) for one in words]
        return ["-m", f"bert_tf.{module}", *words]

    def start(self, name=None):
        """Starts a command."""
        begin = prepared.Popen
        if self.name.startswith("released_models"):
            # It imports the package that is in the working directory.
            begin = start_python
        with open(self.folder / "log", "w") as log:
            return begin(
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


def start_python(arguments, **options):
    """Python with these arguments."""
    return subprocess.Popen([sys.executable, *arguments], **options)


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
