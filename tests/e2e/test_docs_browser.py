"""The Swagger UI in a real browser that cannot reach the network: it is complete, and its examples run as shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect
from pydantic import SecretStr

from app.settings import Settings
from tests.e2e.browser import Browser
from tests.serving import serving
from tests.waiting import wait_until
from tests.workers.stepping import WorkerInside


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A fresh service with its worker."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("data"), sweep_seconds=0.2, heartbeat_seconds=0.2, lease_seconds=600.0
    )
    with serving(settings, WorkerInside) as client:
        yield client


def test_every_operation_is_shown_with_the_network_off(browser: Browser, service: httpx.Client, tmp_path: Path) -> None:
    page = _opened(browser, service)
    document = service.get("/openapi.json").json()
    expected = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert {_name(block) for block in page.locator(".opblock").all()} == expected
    assert page.locator(".title").inner_text().startswith(document["info"]["title"])
    screenshot = page.screenshot(path=tmp_path / "docs.png", full_page=True)
    assert len(screenshot) > 50_000  # an empty page compresses to much less
    assert (browser.foreign, browser.errors) == ([], [])


def test_every_example_runs_as_it_stands(browser: Browser, service: httpx.Client) -> None:
    page = _opened(browser, service)
    document = service.get("/openapi.json").json()
    operations = _operations(page)
    # One section is open at a time: with all of them, each click has Swagger UI draw every operation anew.
    for section in {section for section, _ in operations.values()}:
        _open_or_close(page, section)
    upgrade = evaluation = opened = ""
    for name in sorted(operations, key=_turn):
        section, identity = operations[name]
        if section != opened:
            for other in filter(None, (opened, section)):
                _open_or_close(page, other)
            opened = section
        block = page.locator(f"[id='{identity}']")
        block.locator(".opblock-summary-control").click()
        block.locator("button.execute").wait_for()
        if "{upgrade}" in name:
            _fill_in(block.locator("tr[data-param-name=upgrade] input"), upgrade)
        if "{evaluation}" in name:
            _fill_in(block.locator("tr[data-param-name=evaluation] input"), evaluation)
        for part, value in (("run", "none"), ("generation", "2"), ("old", "0.7")):
            if f"{{{part}}}" in name or (part, name) == ("old", "GET /upgrades/{upgrade}/scores"):
                _fill_in(block.locator(f"tr[data-param-name={part}] input"), value)
        if name == "GET /search":  # by a vector or by an item, as whoever asks prefers
            _fill_in(block.locator("tr[data-param-name=like] input"), "q-1")
        for example in _examples(block, _documented_examples(document, name)):
            if example:
                _choose(block, example)
            status, body = _executed(page, block)
            taken = [200, 409] if name in DEPENDING_ON_THE_STATE else [200, 201, 202, 204]
            if name in NOT_THERE:
                taken = [404]
            if (name, example) == TOO_FEW_PAIRS or name == "PUT /models/{model}/embedder":  # no connection is there
                taken = [422]
            assert status in taken, f"{name} {example}: {status} {body}"
            if name == "POST /models/{model}/upgrade" and status == 202:
                upgrade = service.get("/upgrades").json()["items"][-1]["id"]
                _settled(service, upgrade)  # One upgrade of a gallery at a time: the next example waits for it.
            if name == "POST /evaluations":
                evaluation = service.get("/evaluations").json()["items"][-1]["id"]
        block.locator(".opblock-summary-control").click()
    assert [service.get(f"/{kind}").json()["items"] for kind in ("galleries", "datasets")] == [[], []]
    assert (browser.foreign, browser.errors) == ([], [])


def _turn(name: str) -> int:
    """Deletions are tried last, of what is within another before the other; else all as they are listed."""
    return 100 - name.count("/") if name.startswith("DELETE") else 0


DEPENDING_ON_THE_STATE = {
    "POST /keys",
    "GET /keys/{key}",
    "POST /keys/{key}/rotate",
    "DELETE /keys/{key}",
    "GET /models/{model}/artifact",
    "POST /models/{model}/cancel",
    "GET /galleries/{gallery}/backfill",
    "POST /galleries/{gallery}/backfill",
    "POST /galleries/{gallery}/follow",
    *(
        f"{method} /upgrades/{{upgrade}}/{action}"
        for method, action in (
            ("GET", "report"),
            ("GET", "rows"),
            ("GET", "artifact"),
            ("GET", "scores"),
            ("POST", "activate"),
            ("POST", "rollback"),
            ("POST", "cancel"),
        )
    ),
}
"""Two items teach nothing, so the examples' upgrades come to nothing, and there is nothing to switch to; the model of
the examples was registered, not trained; and a service without keys makes none over HTTP."""
NOT_THERE = {
    "DELETE /galleries/{gallery}/generations/{generation}",
    "GET /galleries/{gallery}/backfills/{run}",
    "POST /galleries/{gallery}/backfills/{run}/cancel",
    "POST /v1/embeddings",
}
"""So no backfill is run either, and there is no old space to embed into."""
TOO_FEW_PAIRS = ("POST /models/{model}/upgrade", "forward")


def test_a_key_entered_once_is_sent_with_every_call(browser: Browser, tmp_path: Path) -> None:
    key = "not-a-real-admin-key-0123456789abcdef"
    with serving(Settings(data_dir=tmp_path / "data", admin_key=SecretStr(key))) as client:
        page = _opened(browser, client)
        block = page.locator("#operations-models-models_list")
        block.locator(".opblock-summary-control").click()
        assert _executed(page, block)[0] == 401
        page.locator(".auth-wrapper .authorize").click()
        dialog = page.locator(".auth-container")
        dialog.locator("input").fill(key)
        page.screenshot(path=tmp_path / "authorize.png")
        dialog.locator("button.authorize").click()
        page.locator(".btn-done").click()
        assert _executed(page, block)[0] == 200
        page.screenshot(path=tmp_path / "authorized.png")
    assert browser.foreign == []


def _settled(service: httpx.Client, upgrade: str) -> None:
    def ended() -> bool:
        return service.get(f"/upgrades/{upgrade}").json()["state"] in ("rejected", "failed", "active")

    wait_until(ended, "the example's upgrade to end")


def _opened(browser: Browser, service: httpx.Client) -> Page:
    browser.page.goto(f"{service.base_url}/docs")
    browser.page.locator(".opblock").first.wait_for()
    return browser.page


def _operations(page: Page) -> dict[str, tuple[str, str]]:
    """The section of each operation, and its own place in the page, as their ids in it."""
    found: dict[str, tuple[str, str]] = {}
    for section in page.locator(".opblock-tag-section").all():
        of = str(section.locator(".opblock-tag").get_attribute("id"))
        for block in section.locator(".opblock").all():
            found[_name(block)] = of, str(block.get_attribute("id"))
    return found


def _open_or_close(page: Page, section: str) -> None:
    page.locator(f"[id='{section}'] button.expand-operation").click()


def _name(block: Locator) -> str:
    method = block.locator(".opblock-summary-method").inner_text()
    return f"{method} {block.locator('.opblock-summary-path').inner_text().replace(chr(0x200B), '')}"


def _documented_examples(document: dict[str, Any], name: str) -> list[str]:
    """The names of the examples of an operation's body, in the first form that it is taken in."""
    method, path = name.split(" ", 1)
    forms: dict[str, Any] = document["paths"][path][method.lower()].get("requestBody", {}).get("content", {})
    return [example for form in list(forms.values())[:1] for example in form.get("examples", {})]


def _examples(block: Locator, documented: list[str]) -> list[str]:
    """The named examples of the body; one nameless where there is no choice."""
    options = block.locator(".opblock-section-request-body .examples-select-element option")
    if len(documented) > 1:  # Swagger UI draws them some time after the operation itself.
        wait_until(lambda: options.count() >= len(documented), "the examples to be drawn")
    return [str(option.get_attribute("value")) for option in options.all()] or [""]


def _choose(block: Locator, example: str) -> None:
    body = block.locator("textarea.body-param__text")
    before = body.input_value()
    select = block.locator(".opblock-section-request-body .examples-select-element")
    if select.input_value() != example:
        select.select_option(example)
        expect(body).not_to_have_value(before)


def _fill_in(field: Locator, text: str) -> None:
    """Swagger UI takes over what was typed a third of a second later, and may have drawn the field anew by then."""
    wait_until(lambda: _still_there_after_filling_in(field, text), "the field to keep what was typed")


def _still_there_after_filling_in(field: Locator, text: str) -> bool:
    field.fill(text)
    field.blur()
    field.page.wait_for_timeout(500)
    return field.input_value() == text


def _executed(page: Page, block: Locator) -> tuple[int, str]:
    """Presses Execute; the answer's status and what is shown of it."""
    # The browser asks for the icon anew whenever Swagger UI changes the address.
    with page.expect_response(lambda response: "/assets/" not in response.url) as response:
        block.locator("button.execute").click()
    response.value.finished()
    shown = block.locator(".live-responses-table .response").first
    shown.locator(".response-col_status", has_text=str(response.value.status)).wait_for()
    return response.value.status, shown.locator(".response-col_description").inner_text()[:500]
