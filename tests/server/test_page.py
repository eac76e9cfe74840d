"""The page to try a model: its files, and how it behaves in Chromium.

Tests in the browser are skipped where the PATH has no Chromium or no driver.
"""

import contextlib
import functools

import pytest
from helpers import small_models
from helpers.browser import Page, needs_browser, open_browser
from helpers.running_server import Running
from selenium.webdriver.common.keys import Keys


def single_texts():
    model = small_models.Reviews()
    model.about = {"text_pairs": False}
    return model


MODELS = {
    "reviews": small_models.Reviews,
    "singles": single_texts,
    "spans": small_models.Spans,
    "masks": small_models.Masks,
    "vectors": small_models.Vectors,
    "labels": functools.partial(small_models.Counts, "multi"),
    "numbers": functools.partial(small_models.Counts, "number"),
    "words": small_models.Words,
    "choices": small_models.Choices,
    "several": small_models.Several,
    "odd": small_models.Odd,
}


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Function from a model's name to its server, each started once."""
    folder = tmp_path_factory.mktemp("page")
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(name):
            small_models.save(MODELS[name](), folder / name / "1")
            server = Running(folder / name, name, max_text_chars=500)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def page(serve, driver, request):
    """The page of the reviews, or of the model that a test names."""
    server = serve(getattr(request, "param", "reviews"))
    host, port = server.address[:2]
    page = Page(driver)
    driver.get(f"http://{host}:{port}/")
    page.find("#fields .field")
    page.resize(1000, 900)
    yield page
    assert page.complaints() == []  # Neither errors nor broken security rules.


def ask(page, **fields):
    for name, text in fields.items():
        page.fill(f"#field-{name}", text)
    page.click("#submit")
    page.wait(lambda: page.is_shown("#result"))


def rows(page):
    """The names and numbers beside the bars."""
    return page.run(
        "return [...document.querySelectorAll('.shares li')].map("
        "li => [li.querySelector('.of').textContent,"
        " li.querySelector('.number').textContent])"
    )


def test_the_files_are_served_with_their_types(serve):
    server = serve("reviews")
    for path, kind in {
        "/": "text/html; charset=utf-8",
        "/page/app.js": "text/javascript; charset=utf-8",
        "/page/style.css": "text/css; charset=utf-8",
        "/page/icon.svg": "image/svg+xml",
    }.items():
        status, headers, content = server.ask("GET", path)
        assert (status, headers["content-type"]) == (200, kind)
        assert b"http://" not in content.replace(b"http://www.w3.org", b"")
        assert b"https://" not in content
    status, _, about = server.ask("GET", "/page/about.json")
    assert about["about"]["head"] == "classifier"
    text = {"dtype": "string", "shape": [None], "optional": False}
    assert about["signatures"]["serve_text"]["inputs"] == {"text_a": text}


@needs_browser
def test_a_text_is_classified(page):
    assert page.text("#name") == "reviews"
    assert page.text("#facts") == "classifier, version 1"
    ask(page, first="good good")
    assert rows(page) == [["good", "88.1 %"], ["bad", "11.9 %"]]
    width = "return document.querySelector('.track span').style.width"
    assert page.run(width).startswith("88.07")
    assert page.text("#spoken") == "good, 88.1 %"
    pieces = [page.text(f".pieces li:nth-child({n})") for n in (1, 2)]
    assert pieces == ["good5", "good5"]
    ask(page, first="good", second="bad bad")
    page.wait(lambda: rows(page)[0][0] == "bad")
    page.click("#request summary")
    assert '"signature_name": "serve_text_pair"' in page.text("#curl")


@needs_browser
@pytest.mark.parametrize("page", ["singles"], indirect=True)
def test_a_model_of_single_texts_asks_for_one(page):
    assert page.find("#field-first")
    assert not page.find_all("#field-second")
    ask(page, first="good good")
    assert rows(page) == [["good", "88.1 %"], ["bad", "11.9 %"]]


@needs_browser
@pytest.mark.parametrize("page", ["labels"], indirect=True)
def test_labels_over_their_thresholds_are_named(page):
    ask(page, first="good good bad")
    assert rows(page) == [["good", "66.7 %"], ["bad", "50.0 %"]]
    # bad is at its threshold, and good is below its own.
    assert page.text(".verdict") == "bad"
    ask(page, first="good")
    page.wait(lambda: page.text(".verdict") == "No label")
    ask(page, first="good good good bad")
    page.wait(lambda: page.text(".verdict") == "bad, good")


@needs_browser
@pytest.mark.parametrize("page", ["numbers"], indirect=True)
def test_a_predicted_number_is_shown(page):
    assert page.text("#intro") == "Predicts a number for a text."
    assert page.text("#submit") == "Predict"
    ask(page, first="good good bad")
    assert page.text(".verdict") == "2.000"
    assert rows(page) == []


@needs_browser
def test_what_is_typed_is_never_html(page):
    text = "<img src=x onerror=alert(1)> good"
    ask(page, first=text)
    assert page.find_all("#result img, #pieces img, #request img") == []
    page.click("#request summary")
    assert text in page.text("#curl")


@needs_browser
@pytest.mark.parametrize("page", ["spans"], indirect=True)
def test_an_answer_is_marked_in_its_text(page):
    ask(page, question="Keller", context="😀 It is by Keller, of 1904.")
    assert page.text("mark") == "Keller"
    assert page.text(".verdict") == "Keller"
    assert page.text("blockquote") == "😀 It is by Keller, of 1904."
    assert "75.0 %" in page.text("#answer")
    assert "no answer: 12.5 %" in page.text("#answer")
    ask(page, question="Nobody")
    page.wait(lambda: page.text(".verdict") == "The text has no answer.")
    assert page.find_all("mark") == []


@needs_browser
@pytest.mark.parametrize("page", ["masks"], indirect=True)
def test_each_mask_gets_its_guesses(page):
    page.fill("#field-first", "It is ")
    page.run("document.getElementById('field-first').setSelectionRange(6, 6)")
    page.click("#fields button")
    page.run("document.getElementById('field-first').value += ', or [MASK]'")
    ask(page)
    assert rows(page) == [["good", "70.0 %"], ["bad", "20.0 %"]] * 2
    marked = "return [...document.querySelectorAll('blockquote')].map(q => "
    first, second = page.run(f"{marked} q.innerHTML)")
    assert first == "It is <mark>[MASK]</mark>, or [MASK]"
    assert second == "It is [MASK], or <mark>[MASK]</mark>"


@needs_browser
@pytest.mark.parametrize("page", ["words"], indirect=True)
def test_entities_are_marked_in_the_text(page):
    ask(page, first="😀 A good day, <b>or</b> not.")
    quote = page.run("return document.querySelector('blockquote').innerHTML")
    mark = "<mark>good<small>OK</small></mark>"
    assert quote == f"😀 A {mark} day, &lt;b&gt;or&lt;/b&gt; not."
    assert rows(page) == [["good, OK", "75.0 %"]]
    assert page.text("#spoken") == "good, OK"
    ask(page, first="A day.")
    page.wait(lambda: page.text("#spoken") == "No entity was found.")
    assert page.find_all("mark") == []


@needs_browser
@pytest.mark.parametrize("page", ["choices"], indirect=True)
def test_each_choice_gets_a_bar(page):
    page.fill("#field-context", "It is")
    page.fill("#field-choices", "so good\n\n")
    page.click("#submit")
    page.wait(lambda: "two choices" in page.text("#problem"))
    ask(page, choices="so bad\n\n  good good\n")
    assert rows(page) == [["  good good", "88.1 %"], ["so bad", "11.9 %"]]
    assert page.text("#spoken") == "good good, 88.1 %"
    assert '"choices": [' in page.run(
        "return document.querySelector('#curl').textContent"
    )


@needs_browser
@pytest.mark.parametrize("page", ["several"], indirect=True)
def test_each_of_several_heads_answers_in_its_own_form(page):
    assert page.text("#facts") == "several, version 1"
    assert not page.find_all("#field-second")
    ask(page, first="so good")
    names = page.run(
        "return [...document.querySelectorAll('#answer h3')]"
        ".map(title => title.textContent)"
    )
    assert names == ["mood", "kinds", "size", "found"]
    bars = [["good", "73.1 %"], ["bad", "26.9 %"]]
    bars += [["good", "50.0 %"], ["bad", "0.0 %"], ["good, OK", "75.0 %"]]
    assert rows(page) == bars
    verdicts = page.run(
        "return [...document.querySelectorAll('.verdict')]"
        ".map(one => one.textContent)"
    )
    # good is below its threshold, and stands there once.
    assert verdicts == ["No label", "1.000"]
    assert page.text("mark").startswith("good")
    assert "3 word pieces were not read by kinds:" in page.text("#answer")
    assert page.text("#spoken").startswith("mood: good, 73.1 %; kinds: No")


@needs_browser
@pytest.mark.parametrize("page", ["vectors"], indirect=True)
def test_two_texts_are_compared(page):
    ask(page, first="good good bad", second="good bad bad")
    assert rows(page) == [["similarity", "0.800"]]


@needs_browser
@pytest.mark.parametrize("page", ["odd"], indirect=True)
def test_other_models_are_asked_in_json(page):
    ask(page, signature="serving_default", instances='[{"a": "x"}]')
    assert "x and more" in page.text("#answer")


@needs_browser
def test_mistakes_are_told_where_they_are_made(page):
    page.click("#submit")
    assert page.text("#problem") == "Please fill in: Text."
    focused = "return document.activeElement.id"
    assert page.run(focused) == "field-first"
    page.fill("#field-first", "a" * 501)
    page.click("#submit")
    page.wait(lambda: "501 characters are too many" in page.text("#problem"))
    # The last defence is the server's.
    page.run("document.getElementById('field-first').value = 'a\\ud800'")
    page.click("#submit")
    page.wait(lambda: "half of a surrogate" in page.text("#problem"))
    assert not page.is_shown("#result")
    page.complaints()  # The browser notes the status 400.


@needs_browser
def test_the_keyboard_is_enough(page):
    page.run("document.getElementById('field-first').focus()")
    page.press("g"), page.press("o"), page.press("o"), page.press("d")
    page.press(Keys.CONTROL, Keys.ENTER)
    page.wait(lambda: page.is_shown("#result"))
    seen = []
    page.run("document.body.focus()")
    for _ in range(9):
        page.press(Keys.TAB)
        seen.append(page.run("return document.activeElement.textContent"))
    assert {"Classify", "Example", "Status", "Metrics"} <= set(seen)


@needs_browser
@pytest.mark.parametrize("page", list(MODELS), indirect=True)
def test_everything_has_a_name_and_fits_a_narrow_screen(page):
    nameless = page.run(
        "return [...document.querySelectorAll('input, textarea, select')]"
        ".filter(box => !box.labels.length || !box.labels[0].textContent)"
        ".length"
    )
    assert nameless == 0
    page.resize(320, 700)
    if page.find_all("#examples button"):
        page.click("#examples button")
        ask(page)
    wide = "return document.documentElement.scrollWidth"
    assert page.run(wide) <= 320


def channels(colour):
    return [int(number) for number in colour[4:-1].split(",")]


def luminance(colour):
    """As WCAG 2 defines it."""
    parts = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in channels(colour))
    ]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), parts))


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(page, scheme):
    page.resize(1000, 900, scheme)
    ask(page, first="good unknown")
    found = page.run(
        """
        const pairs = [];
        for (const element of document.querySelectorAll('body *')) {
          const own = [...element.childNodes].some(
            n => n.nodeType === 3 && n.textContent.trim());
          if (!own || !element.checkVisibility()) continue;
          let behind = element;
          while (getComputedStyle(behind).backgroundColor
                 === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
          pairs.push([getComputedStyle(element).color,
                      getComputedStyle(behind).backgroundColor,
                      element.className || element.tagName]);
        }
        return pairs;
        """
    )
    assert len(found) > 10
    for text, background, what in found:
        low, high = sorted((luminance(text), luminance(background)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, what  # WCAG 2 level AA
    body = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(body) < 0.2) == (scheme == "dark")
