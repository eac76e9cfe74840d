"""Attention maps as a page, in Chromium, without a network."""

import numpy as np
import pytest
from helpers.browser import Page, needs_browser, open_browser
from selenium.webdriver.common.keys import Keys

from bert_tf.tasks.inspection import page as pages
from bert_tf.tasks.inspection.rows import AttentionMap

TOKENS = ["[CLS]", "<b>a</b>", "next", "[SEP]", "c", "[SEP]"]
MAP = np.random.default_rng(1).random((2, 3, 6, 6)).astype(np.float32)
MAP /= MAP.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def page(driver, tmp_path):
    path = tmp_path / "map.html"
    with pages.open_page(str(path), 2, 3) as write:
        write(AttentionMap(TOKENS, [0, 0, 0, 0, 1, 1], MAP))
        long = np.full((2, 3, 150, 150), 1 / 150, np.float32)
        write(AttentionMap(["x"] * 150, [0] * 150, long))
    driver.get(path.as_uri())
    page = Page(driver)
    page.resize(1000, 900)
    page.find(".attention-tokens button")
    yield page
    assert page.complaints() == []


def choose(page, number, value):
    """Sets the first, second or third choice: text, layer, head."""
    page.run(
        f"const box = document.querySelectorAll('select')[{number}];"
        f"box.value = '{value}'; box.dispatchEvent(new Event('change'))"
    )


def is_shown(page, side, weights):
    """Whether they are beside the tokens of a side, if above 1 %."""
    wanted = np.where(weights < 0.01, 0, weights)
    return np.allclose(shown(page, side), wanted, atol=6e-4)


def shown(page, side):
    """The percentages beside the tokens of a side."""
    texts = page.run(
        f"return [...document.querySelectorAll('.{side} small')]"
        ".map(element => element.textContent)"
    )
    return [float(text.split()[0]) / 100 if text else 0 for text in texts]


@needs_browser
def test_a_token_shows_what_it_looks_at_and_what_looks_at_it(page):
    assert page.find_all("b") == []  # Tokens are no HTML.
    tokens = page.run(
        "return [...document.querySelectorAll('.to span')]"
        ".map(element => element.textContent)"
    )
    assert tokens == TOKENS
    # Of neighbours, and not of the token of that name.
    share = np.diagonal(MAP[0].mean(0), 1).mean()
    page.wait(
        lambda: page.text(".attention-said").endswith(
            f"next {share:.1%}.".replace("%", " %")
        )
    )
    page.click(".from li:nth-child(3) button")
    page.wait(lambda: is_shown(page, "to", MAP[0, :, 2].mean(0)))
    assert len(page.find_all("path")) >= 1
    choose(page, 1, 1)
    choose(page, 2, 2)
    page.wait(lambda: is_shown(page, "to", MAP[1, 2, 2]))
    page.click(".to li:nth-child(5) button")
    page.wait(lambda: is_shown(page, "from", MAP[1, 2, :, 4]))
    assert "is looked at by" in page.text(".attention-said")


@needs_browser
def test_the_keyboard_is_enough(page):
    page.run("document.querySelector('.from button').focus()")
    for key in (Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER):
        page.press(key)
    page.wait(lambda: page.text(".attention-said").startswith("next (token 3)"))
    page.press(Keys.ARROW_RIGHT)
    page.wait(lambda: "is looked at by" in page.text(".attention-said"))
    page.press(Keys.ESCAPE)
    page.press(Keys.TAB)
    assert page.find_all("[aria-pressed='true']") == []


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_long_texts_and_narrow_screens_fit(page, scheme):
    page.resize(320, 700, scheme)
    choose(page, 0, 1)
    page.wait(lambda: len(page.find_all(".from li")) == 150)
    width = "return document.documentElement.scrollWidth"
    assert page.run(width) <= 320
    # Lines end at their tokens, up to the last one.
    ends = page.run(
        "const of = x => document.querySelector(x).getBoundingClientRect();"
        "return [of('svg').bottom, of('.to li:last-child').bottom]"
    )
    assert abs(ends[0] - ends[1]) < 2
