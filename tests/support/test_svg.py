"""SVG files as an XML parser reads them."""

import re
import xml.etree.ElementTree

import pytest
from helpers.browser import Page, needs_browser, open_browser

from bert_tf.support import svg

NAMES = "{http://www.w3.org/2000/svg}"


def read(*parts):
    return xml.etree.ElementTree.fromstring(
        svg.document(100, 50, "a <title>", parts)
    )


@pytest.mark.parametrize(
    ("words", "read_as"),
    [
        ('<b>&amp; "it\'s"', '<b>&amp; "it\'s"'),
        ("中文 עברית 😀", "中文 עברית 😀"),
        # XML 1.0 has no way to write these.
        ("a\x00\x0b\ud800\uffffb", "a\ufffd\ufffd\ufffd\ufffdb"),
    ],
)
def test_any_text_can_be_written(words, read_as):
    (found,) = read(svg.text(1, 2, words)).iter(f"{NAMES}text")

    assert found.text == read_as


def test_a_file_needs_nothing_else_and_has_colours_for_dark_screens():
    text = svg.document(100, 50, "title", [svg.bar(0, 0, 1, 1, tip="x")])

    assert re.findall(r"\w+://\S+", text) == ['http://www.w3.org/2000/svg"']
    assert not re.search(r"<script|<image|href|@import|url\(", text)
    light, dark = text.split("@media (prefers-color-scheme: dark)")
    for name in svg.SERIES:
        assert f".{name} {{ color" in light and f".{name} {{ color" in dark


def luminance(color):
    """The relative luminance of WCAG 2."""
    shares = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
        for x in shares
    ]
    return sum(x * y for x, y in zip(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_have_the_contrast_that_wcag_asks_for(scheme):
    parts = svg.document(1, 1, "", []).split("@media")
    found = dict(
        re.findall(r"(\S+) \{ (?:color|fill): (#\w+) \}", parts[scheme])
    )
    back = luminance(found[".back"])

    def contrast(name):
        low, high = sorted((luminance(found[name]), back))
        return (high + 0.05) / (low + 0.05)

    assert contrast("text") >= 7 and contrast("text.faint") >= 4.5
    assert min(map(contrast, (f".{name}" for name in svg.SERIES))) >= 3


@pytest.mark.parametrize(
    "words", ["a long name of a label", "很长的中文标签名字"]
)
def test_a_long_text_is_shortened_and_whole_in_its_tooltip(words):
    (found,) = read(svg.text(0, 0, words, room=60)).iter(f"{NAMES}text")

    kept = found.text.removesuffix("…")
    assert found.text != kept and words.startswith(kept) and kept
    assert svg.width_of(found.text) <= 60
    assert found.find(f"{NAMES}title").text == words
    (short,) = read(svg.text(0, 0, "name", room=60)).iter(f"{NAMES}text")
    assert short.text == "name" and not list(short)


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-0.3, 5.1, [0, 2, 4]),
        (990, 1010, [990, 995, 1000, 1005, 1010]),
        (-4e-7, 4e-7, [-4e-7, -2e-7, 0, 2e-7, 4e-7]),
    ],
)
def test_ticks_are_round_values_in_the_range(low, high, values):
    assert svg.ticks(low, high) == pytest.approx(values, abs=1e-12)


def test_axes_place_points_with_y_upwards():
    axes = svg.Axes(10, 20, 100, 50, (0, 4), (-1, 1))

    assert axes.place(0, -1) == (10, 70)
    assert axes.place(4, 1) == (110, 20)
    assert axes.place(1, 0) == (35, 45)


@needs_browser
def test_a_picture_shrinks_to_a_narrow_window(tmp_path):
    drawn = svg.document(748, 374, "title", [])
    alone, inline = tmp_path / "picture.svg", tmp_path / "page.html"
    alone.write_text(drawn)
    inline.write_text(f"<!doctype html><body style='margin: 0'>{drawn}")
    with open_browser(tmp_path) as driver:
        page = Page(driver)
        for path in (alone, inline):
            driver.get(path.as_uri())
            for width in (1000, 374):
                page.resize(width, 500)
                size = page.run(
                    "const { width, height } = document.querySelector('svg')"
                    ".getBoundingClientRect(); return [width, height]"
                )
                assert size == [min(width, 748), min(width, 748) / 2], path
