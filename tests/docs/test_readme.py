"""The README's quickstart and what it makes; links of all pages."""

import re
import shutil
import subprocess

import pytest
from helpers import page_parts, prepared
from helpers.pages import PAGES
from helpers.paths import ROOT

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

README = PAGES["README.md"]


def anchors(text):
    """The names of a page's headings in addresses, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_the_readme_is_one_screen_and_leads_to_every_page():
    assert README.count("\n") <= 150
    for page in PAGES:
        if page != "README.md":
            assert f"]({page}" in README, page


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """What the quickstart printed, and its output folder."""
    folder = tmp_path_factory.mktemp("quickstart")
    out, venv = folder / "out", folder / "venv"
    prepared.write_python(venv / "bin" / "python")
    shutil.copy(ROOT / "requirements.lock", venv / "installed.lock")
    done = subprocess.run(
        [ROOT / "run_scripts" / "quickstart.sh", out],
        env={**prepared.environment(), "BERT_TF_VENV": str(venv)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, out


@pytest.mark.slow
def test_quickstart_learns_the_sample_reviews(quickstart):
    printed, out = quickstart
    (accuracy,) = re.findall(r" eval_accuracy = (\S+)", printed)
    assert float(accuracy) > 0.9
    results = (out / "pretraining" / "eval_results.txt").read_text()
    assert "masked_lm_accuracy" in results
    reviews = out / "reviews"
    predicted = (reviews / "test_predictions.txt").read_text().split()
    assert len(predicted) == 20
    assert set(predicted) <= {"positive", "negative"}


@pytest.mark.slow
def test_the_classifier_is_exported_asked_and_served(
    quickstart, tmp_path, capsys
):
    _, out = quickstart
    with page_parts.start("use", tmp_path / "here") as run:
        (run.folder / "outputs").mkdir()
        (run.folder / "outputs" / "quickstart").symlink_to(out)
        run.page("README.md", "Use it")

    label, dirty, place = capsys.readouterr().out.splitlines()[-3:]
    assert label == "positive"
    assert dirty.startswith("negative 0.")
    assert place.startswith("positive 0.")
    (got,) = [*run.outputs.values()][-1]["predictions"]
    assert got["label"] == "negative"
