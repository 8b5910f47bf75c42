"""A real browser that reaches this machine alone, and remembers what it did that it should not have."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Page, Request, Route, expect, sync_playwright

from tests.waiting import PATIENCE_SECONDS

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MILLISECONDS = 1000 * PATIENCE_SECONDS


class Browser:
    """A page, and what it did that it should not have."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.foreign: list[str] = []
        self.errors: list[str] = []
        page.route("**/*", self._allow_loopback_alone)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("requestfailed", self._failed)
        page.on("console", self._refused_by_policy)

    def _allow_loopback_alone(self, route: Route) -> None:
        if urlsplit(route.request.url).hostname == "127.0.0.1" or route.request.url.startswith("data:"):
            route.continue_()
        else:
            self.foreign.append(route.request.url)
            route.abort()

    def _refused_by_policy(self, message: ConsoleMessage) -> None:
        """What a page's own Content-Security-Policy keeps from it fails without any other sign."""
        if "Content Security Policy" in message.text:
            self.errors.append(message.text)

    def _failed(self, request: Request) -> None:
        """A request that the browser gave up itself, as it does with what is under way when it goes to another page, is
        no failure."""
        if request.failure != "net::ERR_ABORTED":
            self.errors.append(f"{request.url}: {request.failure}")


@contextmanager
def installed_browser() -> Iterator[Browser]:
    """Skips the test where there is none, but in continuous integration."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        if "CI" in os.environ:
            pytest.fail(f"continuous integration must have a browser: one of {', '.join(BROWSERS)}")
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)} was found")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=executable,
            timeout=MILLISECONDS,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-proxy-server",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        page = chromium.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(MILLISECONDS)
        expect.set_options(timeout=MILLISECONDS)
        yield Browser(page)
        chromium.close()
