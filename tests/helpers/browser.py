"""Headless Chromium, driven in W3C WebDriver's own words.

Chromium and its driver are found on the PATH; what needs them is skipped where
they are not. The protocol is JSON over HTTP: nothing to install beside the two.
"""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

WAIT = 60

# How WebDriver writes an element, and some keys.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
CONTROL, ENTER, TAB = "\ue009", "\ue007", "\ue004"


def find_chromium():
    """Paths of Chromium and its driver; None for what is not there."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    return browser, shutil.which("chromedriver")


class Browser:
    """A browser window; `Browser.open` starts it.

    Args:
        address: of a session of the driver.
    """

    def __init__(self, address):
        self.address = address

    @classmethod
    @contextlib.contextmanager
    def open(cls):
        """A window, closed at the end of the block."""
        browser, driver = find_chromium()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        with tempfile.TemporaryDirectory() as profile:
            options = {
                "binary": browser,
                "args": [
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--disable-dev-shm-usage",
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    "--hide-scrollbars",
                    "--force-device-scale-factor=1",
                    f"--user-data-dir={profile}",
                ],
            }
            process = subprocess.Popen(
                [driver, f"--port={port}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "HOME": profile},
            )
            session = None
            try:
                root = f"http://127.0.0.1:{port}"
                _wait_for(root)
                wanted = {
                    "browserName": "chrome",
                    "goog:chromeOptions": options,
                }
                wanted["goog:loggingPrefs"] = {"browser": "ALL"}
                made = _send(
                    "POST",
                    f"{root}/session",
                    {"capabilities": {"alwaysMatch": wanted}},
                )
                session = cls(f"{root}/session/{made['sessionId']}")
                yield session
            finally:
                if session:
                    with contextlib.suppress(OSError):
                        session._call("DELETE", "")
                process.terminate()
                process.wait(WAIT)

    def go(self, address):
        """Opens a page."""
        self._call("POST", "/url", {"url": address})

    def find(self, selector):
        """The first element of a CSS selector, once it is there."""
        return self.wait(lambda: self.find_all(selector))[0]

    def find_all(self, selector):
        """All elements of a CSS selector."""
        found = self._call(
            "POST", "/elements", {"using": "css selector", "value": selector}
        )
        return [each[ELEMENT] for each in found]

    def text(self, selector):
        """What can be read in an element."""
        return self._call("GET", f"/element/{self.find(selector)}/text")

    def is_shown(self, selector):
        """Whether an element can be seen."""
        return self._call("GET", f"/element/{self.find(selector)}/displayed")

    def click(self, selector):
        """Clicks on an element."""
        self._call("POST", f"/element/{self.find(selector)}/click", {})

    def fill(self, selector, text):
        """Puts text into a field in place of what is in it."""
        self.run(
            "arguments[0].value = arguments[1]",
            {ELEMENT: self.find(selector)},
            text,
        )

    def press(self, *keys):
        """Presses keys together, where the focus is."""
        actions = [{"type": "keyDown", "value": key} for key in keys]
        actions += [{"type": "keyUp", "value": key} for key in reversed(keys)]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self._call("POST", "/actions", {"actions": [keyboard]})

    def run(self, script, *arguments):
        """What a piece of JavaScript returns."""
        body = {"script": script, "args": list(arguments)}
        return self._call("POST", "/execute/sync", body)

    def log(self):
        """What the browser complained about since it was last asked."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]

    def screenshot(self, file):
        """Writes what is seen as PNG into an open file."""
        file.write(base64.b64decode(self._call("GET", "/screenshot")))

    def look_like(self, width, height, is_dark=False):
        """Shows the page as on a screen of this size and colour scheme."""
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = "dark" if is_dark else "light"
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._devtools("Emulation.setEmulatedMedia", features=[feature])

    def _devtools(self, command, **parameters):
        body = {"cmd": command, "params": parameters}
        return self._call("POST", "/goog/cdp/execute", body)

    def wait(self, condition):
        """Returns what `condition` returns, once that is true."""
        until = time.monotonic() + WAIT
        while not (found := condition()):
            if time.monotonic() > until:
                raise TimeoutError("the page did not come to it")
            time.sleep(0.05)
        return found

    def _call(self, method, path, body=None):
        return _send(method, self.address + path, body)


def _send(method, address, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(address, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        value = json.load(error)["value"]
        raise RuntimeError(f"{path_of(address)}: {value['message']}") from None


def path_of(address):
    """What of an address tells where a call went wrong."""
    return address.partition("/session")[2]


def _wait_for(root):
    until = time.monotonic() + WAIT
    while True:
        try:
            if _send("GET", f"{root}/status")["ready"]:
                return
        except (OSError, RuntimeError):
            if time.monotonic() > until:
                raise
        time.sleep(0.1)
