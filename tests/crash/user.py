"""A client as clients should be: what was not acknowledged is sent again; what was, it remembers and holds us to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.loopback import NO_TLS
from tests.waiting import PATIENCE_SECONDS, wait_until

GALLERY, PAIRS = "faq", "pairs"
OLD, NEW, NEWEST = "old", "new", "newest"


@dataclass
class Ledger:
    """What the service has acknowledged of the gallery's items. An id in neither set is on its way in or out."""

    there: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


class PersistentUser:
    """Sends a request until it is answered. `revive` starts again what has died; whether anything had."""

    def __init__(self, url: str, revive: Callable[[], bool], ledger: Ledger | None = None) -> None:
        self.ledger = ledger or Ledger()
        self.url = url
        self._revive = revive
        self._http = httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, verify=NO_TLS)

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, url: str, *, also: Collection[int] = (), **more: Any) -> Any:
        """What the service answers; `also`: statuses that are as good as a success where the request came twice."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            try:
                answers[:] = [self._http.request(method, url, **more)]
            except httpx.TransportError:
                wait_until(self._revive, "the service to be found dead, since it broke the connection")
                return False
            return answers[0].status_code != httpx.codes.SERVICE_UNAVAILABLE

        wait_until(answered, f"{method} {url} to be answered", last=lambda: [answer.text for answer in answers])
        (answer,) = answers
        assert answer.is_success or answer.status_code in also, f"{method} {url}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def get(self, url: str, **more: Any) -> Any:
        return self.ask("GET", url, **more)

    def post(self, url: str, body: object = None, **more: Any) -> Any:
        return self.ask("POST", url, json=body, **more)

    def put_items(self, items: Iterable[dict[str, Any]], model: str = OLD) -> None:
        """Puts items into the gallery, as one request."""
        rows = list(items)
        ids = {row["id"] for row in rows}
        self.ledger.gone -= ids
        self.ask("PUT", f"/galleries/{GALLERY}/items", params={"model": model}, json={"items": rows})
        self.ledger.there |= ids

    def delete_items(self, ids: Collection[str]) -> None:
        self.ledger.there -= set(ids)
        self.post(f"/galleries/{GALLERY}/items/delete", {"ids": sorted(ids)})
        self.ledger.gone |= set(ids)


@dataclass(frozen=True)
class SearchAnswer:
    """One answer to a query of a model: what stands in the way where nothing leads there, or the items' scores."""

    model: str
    problem: str | None
    route: str | None
    scores: dict[str, float]


class UnavailableForNow(AssertionError):
    """A search was answered by 503."""


def search(http: httpx.Client, model: str, vector: list[float]) -> SearchAnswer:
    """The scores of every item in the gallery. Fails where the answer is a fault of the service's."""
    body = {"gallery": GALLERY, "model": model, "k": 500, "vectors": [vector]}
    answer = http.post("/search", json=body)
    told = answer.json()
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise UnavailableForNow(answer.text)
    if answer.status_code in (404, 409):
        return SearchAnswer(model, told["type"], None, {})
    assert answer.is_success, f"a search was answered by {answer.status_code} {answer.text}"
    (hits,) = told["results"]
    return SearchAnswer(model, None, told["route"], {hit["id"]: hit["score"] for hit in hits})


class Reader(threading.Thread):
    """Searches all the while, and keeps what is wrong with an answer.

    Every answer must hold what was acknowledged before it was asked for, and nothing that was deleted before; every
    score must be one that the item has before or after what is being done: `allowed`, by model and item.
    """

    PAUSE_SECONDS = 0.2

    def __init__(
        self,
        url: str,
        queries: dict[str, list[float]],
        ledger: Ledger,
        allowed: Callable[[SearchAnswer], str | None],
        *,
        servers_die: bool = False,
    ) -> None:
        super().__init__(name="reader", daemon=True)
        self.wrong: list[str] = []
        self.answered = 0
        self._url = url
        self._queries = queries
        self._ledger = ledger
        self._allowed = allowed
        self._servers_die = servers_die
        self._ended = threading.Event()

    def stop(self) -> None:
        self._ended.set()
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE_SECONDS, verify=NO_TLS) as http:
            while not self._ended.is_set():
                for model, vector in self._queries.items():
                    self._read(http, model, vector)
                self._ended.wait(self.PAUSE_SECONDS)

    def _read(self, http: httpx.Client, model: str, vector: list[float]) -> None:
        there, gone = set(self._ledger.there), set(self._ledger.gone)
        try:
            answer = search(http, model, vector)
        except httpx.TransportError:  # The service is dead for the moment.
            return
        except UnavailableForNow as error:
            self.wrong += [] if self._servers_die else [str(error)]
            return
        except AssertionError as error:
            self.wrong.append(str(error))
            return
        self.answered += 1
        if (wrong := self._allowed(answer)) is not None:
            self.wrong.append(wrong)
        if answer.problem is None:
            lost = (there & self._ledger.there) - answer.scores.keys()
            back = (gone & self._ledger.gone) & answer.scores.keys()
            if lost or back:
                self.wrong.append(f"a search with {model} lacked {sorted(lost)} and had {sorted(back)}")
