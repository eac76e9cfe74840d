"""The page to try a model: its files, and what Chromium makes of them.

What needs Chromium and its driver is skipped where they are not on the PATH.
"""

import pytest
from helpers import small_models
from helpers.browser import CONTROL, ENTER, TAB, Browser, find_chromium
from helpers.running_server import Running


def needs_browser(test):
    """Marks a test that takes Chromium, and its time to start."""
    is_missing = not all(find_chromium())
    reason = "needs chromium and chromedriver on the PATH"
    return pytest.mark.slow(pytest.mark.skipif(is_missing, reason=reason)(test))


MODELS = {
    "reviews": small_models.Reviews,
    "spans": small_models.Spans,
    "masks": small_models.Masks,
    "vectors": small_models.Vectors,
    "odd": small_models.Odd,
}


@pytest.fixture(scope="module")
def open_page(tmp_path_factory):
    """Opens the page of one of the models; a server for each is kept."""
    folder = tmp_path_factory.mktemp("page")
    servers, window = {}, None

    def make(name):
        if name not in servers:
            small_models.save(MODELS[name](), folder / name / "1")
            servers[name] = Running(folder / name, name, max_text_chars=500)
        if window:
            host, port = servers[name].address[:2]
            window.go(f"http://{host}:{port}/")
            window.find("#fields .field")
        return servers[name], window

    if all(find_chromium()):
        with Browser.open() as window:
            yield make
    else:
        yield make
    for server in servers.values():
        server.stop()


@pytest.fixture
def page(open_page, request):
    """The page of the reviews, or of the model that a test names."""
    server, window = open_page(getattr(request, "param", "reviews"))
    window.look_like(1000, 900)
    window.server = server
    yield window
    assert window.log() == []  # Neither errors nor broken security rules.


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


def test_the_files_are_served_with_their_types(open_page):
    server, _ = open_page("reviews")
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
def test_errors_are_shown_at_their_field(open_page):
    _, page = open_page("reviews")
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
    page.log()  # The browser notes the status 400.


@needs_browser
def test_the_keyboard_is_enough(page):
    page.run("document.getElementById('field-first').focus()")
    page.press("g"), page.press("o"), page.press("o"), page.press("d")
    page.press(CONTROL, ENTER)
    page.wait(lambda: page.is_shown("#result"))
    seen = []
    page.run("document.body.focus()")
    for _ in range(9):
        page.press(TAB)
        seen.append(page.run("return document.activeElement.textContent"))
    assert {"Classify", "Example", "Status", "Metrics"} <= set(seen)


@needs_browser
@pytest.mark.parametrize("page", list(MODELS), indirect=True)
def test_fields_have_labels_and_fit_a_narrow_screen(page):
    nameless = page.run(
        "return [...document.querySelectorAll('input, textarea, select')]"
        ".filter(box => !box.labels.length || !box.labels[0].textContent)"
        ".length"
    )
    assert nameless == 0
    page.look_like(320, 700)
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
@pytest.mark.parametrize("is_dark", [False, True])
def test_text_has_enough_contrast(page, is_dark):
    page.look_like(1000, 900, is_dark)
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
    assert (luminance(body) < 0.2) == is_dark
