"""Pictures of the server's page, one for each model: docs/page-*.png.

  python benchmarks/page_screenshots.py --models REVIEWS,SPANS,MASKS,VECTORS

Each of the models is served in turn, asked for the page's own example, and its
page is photographed by headless Chromium, which must be installed together with
chromedriver: the first in light, the second in dark, and so on; the last one as
on a telephone. Pillow makes the files small.
"""

import contextlib
import io
import pathlib
import re
import subprocess
import sys

from absl import app, flags
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import browser  # noqa: E402

flags.DEFINE_list("models", None, "Folders of SavedModels.")
flags.DEFINE_string("output_dir", str(ROOT / "docs"), "Where to put pictures.")
flags.mark_flag_as_required("models")
FLAGS = flags.FLAGS

WIDE, NARROW = 900, 380
COLOURS = 128
MOST_BYTES = 100_000


@contextlib.contextmanager
def served(folder):
    """The address of a server of this model."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bert_tf.serve", folder, "--port=0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{folder} cannot be served.")
        yield re.search(r"Try it at (\S+)", line)[1]
    finally:
        process.terminate()
        process.wait()


def photograph(window, address, width, is_dark):
    """The page after its own example was asked, as an image."""
    window.go(address)
    window.look_like(width, 800, is_dark)
    window.click("#examples button")
    window.click("#submit")
    window.wait(lambda: window.is_shown("#result"))
    # The pressed button keeps no ring, and all of the page is seen.
    window.run("document.activeElement.blur()")
    height = window.run("return document.documentElement.scrollHeight")
    window.look_like(width, height, is_dark)
    picture = io.BytesIO()
    window.screenshot(picture)
    return Image.open(picture)


def main(argv):
    """Photographs each model."""
    last = len(FLAGS.models) - 1
    for number, folder in enumerate(FLAGS.models):
        name = pathlib.Path(folder).resolve().name
        path = pathlib.Path(FLAGS.output_dir) / f"page-{name}.png"
        width = NARROW if number == last else WIDE
        with served(folder) as address, browser.Browser.open() as window:
            image = photograph(window, address, width, number % 2 == 1)
        image.convert("RGB").quantize(COLOURS).save(path, optimize=True)
        size = path.stat().st_size
        print(f"{path}: {image.width} x {image.height}, {size} bytes")
        if size > MOST_BYTES:
            raise SystemExit(f"{path} must be below {MOST_BYTES} bytes.")


if __name__ == "__main__":
    app.run(main)
