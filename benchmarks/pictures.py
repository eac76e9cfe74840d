"""How pictures are begun and written: the same numbers give the same SVG."""

import sys


def load_pyplot(otherwise=""):
    """matplotlib.pyplot, which draws into files only.

    Args:
        otherwise: what else can be done without matplotlib, for the message.

    Raises:
        SystemExit: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        sys.exit(
            "A picture needs matplotlib: pip install 'bert-tf[docs]'"
            f"{otherwise}."
        )
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "bert_tf"
    from matplotlib import pyplot

    return pyplot


def write(pyplot, figure, path, title):
    """Writes a figure as .svg or .png, with a title if there is one."""
    if title:
        figure.suptitle(title)
    is_svg = str(path).endswith(".svg")
    figure.savefig(path, dpi=120, metadata={"Date": None} if is_svg else None)
    pyplot.close(figure)
