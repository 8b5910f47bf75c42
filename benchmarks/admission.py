"""What deciding who is let in adds to a request: microseconds, beside an application that answers at once.

    python -m benchmarks.admission [--requests 20000] [--keys 1000]

The middleware alone with what answers its refusals, in one thread, on SQLite with so many keys; `GET /search` with a
vector of 384 numbers. The keys are read anew once a second as in service, and that is part of the mean. Medians are of
single requests.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
from rich.console import Console
from rich.table import Table
from starlette.types import Message, Receive, Scope, Send

from app.http.problem_answers import LastResort
from app.keys.access import KeyScope
from app.keys.admission import Admission
from app.keys.limits import KeyLimits
from app.keys.ring import KeyRing
from app.keys.rules import RULES
from app.keys.schemas import NewKey
from app.keys.service import Keys
from app.settings import Settings
from app.storage.database import Database
from app.storage.migrate import migrate

_PEER = ("127.0.0.1", 50_000)
_VECTOR = b"A" * 2048


@dataclass(frozen=True)
class Cost:
    """Microseconds of a request."""

    mean: float
    median: float


async def _answers(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    pass


def _request(application: Any, key: str | None) -> dict[str, Any]:
    headers = [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*"), (b"user-agent", b"benchmark")]
    return {
        "type": "http",
        "method": "GET",
        "path": "/search",
        "root_path": "",
        "query_string": b"gallery=faq&model=minilm-v2&k=10&vector=" + _VECTOR,
        "headers": headers if key is None else [*headers, (b"authorization", f"Bearer {key}".encode())],
        "client": _PEER,
        "crosswalk.peer": _PEER,
        "app": application,
    }


async def _measured(app: Any, application: Any, key: str | None, requests: int) -> Cost:
    seconds = []
    began = time.perf_counter()
    for _ in range(requests):
        scope = _request(application, key)
        before = time.perf_counter()
        await app(scope, _receive, _send)
        seconds.append(time.perf_counter() - before)
    return Cost(1e6 * (time.perf_counter() - began) / requests, 1e6 * statistics.median(seconds))


async def _table(database: Database, settings: Settings, requests: int, count: int) -> Table:
    keys = Keys(database)
    ring = KeyRing(settings, keys)
    application = SimpleNamespace(state=SimpleNamespace(crosswalk=SimpleNamespace(key_ring=ring)))
    guarded = LastResort(Admission(_answers, RULES, KeyLimits(settings)), settings.data_dir)
    bare = LastResort(_answers, settings.data_dir)
    costs = {"nothing": await _measured(bare, application, None, requests)}
    costs["a service without keys"] = await _measured(guarded, application, None, requests)
    for number in range(count - 2):
        keys.create(NewKey(name=str(number), scopes=[KeyScope.SEARCH]))
    plain = keys.create(NewKey(name="plain", scopes=[KeyScope.SEARCH])).key
    limited = keys.create(
        NewKey(name="limited", scopes=[KeyScope.SEARCH], galleries=["faq"], rate="1000000/second", concurrency=8)
    ).key
    ring.changed()
    costs["a key"] = await _measured(guarded, application, plain, requests)
    costs["a key bound to a gallery, with a rate and a concurrency"] = await _measured(
        guarded, application, limited, requests
    )
    costs["a wrong key, answered 401"] = await _measured(guarded, application, f"{plain[:-64]}{'0' * 64}", requests)
    table = Table(title=f"Microseconds a request, {requests:,} requests, {count:,} keys")
    for heading in ("in front of the application", "mean", "median"):
        table.add_column(heading, justify="left" if heading.startswith("in") else "right")
    for name, cost in costs.items():
        table.add_row(name, f"{cost.mean:.1f}", f"{cost.median:.1f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--keys", type=int, default=1_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        database = Database(settings.sqlalchemy_url)
        migrate(database)
        Console(soft_wrap=True).print(anyio.run(_table, database, settings, arguments.requests, arguments.keys))
        database.close()


if __name__ == "__main__":
    main()
