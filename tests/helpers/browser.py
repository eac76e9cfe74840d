"""A headless Chromium, and what tests do with a page in it."""

import contextlib
import os
import shutil

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
WAIT_SECONDS = 60


def needs_browser(test):
    is_missing = not (CHROMIUM and DRIVER)
    reason = "needs chromium and chromedriver on the PATH"
    return pytest.mark.slow(pytest.mark.skipif(is_missing, reason=reason)(test))


@contextlib.contextmanager
def open_browser(home):
    """A headless Chromium that keeps its files in the folder `home`."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--hide-scrollbars",
        f"--user-data-dir={home}/profile",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With both paths given, Selenium looks for nothing and downloads nothing.
    service = webdriver.ChromeService(
        DRIVER, env={**os.environ, "HOME": str(home)}
    )
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """The page in the browser; elements are found by CSS selectors."""

    def __init__(self, driver):
        self.driver = driver

    def wait(self, condition):
        waiting = WebDriverWait(
            self.driver,
            WAIT_SECONDS,
            poll_frequency=0.05,
            # What was found is replaced before it is read.
            ignored_exceptions=[StaleElementReferenceException],
        )
        return waiting.until(lambda _: condition())

    def find_all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def find(self, selector):
        return self.wait(lambda: self.find_all(selector))[0]

    def text(self, selector):
        return self.find(selector).text

    def is_shown(self, selector):
        return self.find(selector).is_displayed()

    def click(self, selector):
        self.find(selector).click()

    def fill(self, selector, text):
        script = "arguments[0].value = arguments[1]"
        self.driver.execute_script(script, self.find(selector), text)

    def press(self, *keys):
        """Presses keys together."""
        actions = ActionChains(self.driver)
        for key in keys:
            actions.key_down(key)
        for key in reversed(keys):
            actions.key_up(key)
        actions.perform()

    def run(self, script):
        return self.driver.execute_script(script)

    def complaints(self):
        """The messages in the browser's console since the last call."""
        return [each["message"] for each in self.driver.get_log("browser")]

    def resize(self, width, height, scheme="light"):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width,
                "height": height,
                "deviceScaleFactor": 1,
                "mobile": False,
            },
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [feature]}
        )
