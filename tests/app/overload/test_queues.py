"""While too much comes, the service refuses some, answers what it took, and tells its state."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from starlette.types import Message, Receive, Scope, Send

from app.overload.queues import QueueMetrics, Queues
from app.overload.waiting_line import WaitingLine
from app.overload.work import Work
from tests.app.overload.gated import Gated
from tests.loopback import NO_TLS
from tests.waiting import PATIENCE_SECONDS, wait_until

QUERY = "/search?gallery=g&model=m&vector=1,0"


def _another(client: httpx.Client) -> httpx.Client:
    return httpx.Client(base_url=client.base_url, timeout=PATIENCE_SECONDS, verify=NO_TLS)


def _model(name: str) -> dict[str, object]:
    return {"id": name, "dimension": 2, "metric": "l2"}


def _refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/overloaded")
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("work", [work for work in Work if work is not Work.EMBEDDINGS])  # which waits for an embedder
def test_what_is_too_much_is_refused_what_was_taken_is_answered_and_the_state_is_told_meanwhile(
    gated: Gated, threads: ThreadPoolExecutor, work: Work
) -> None:
    """The gate is every table that the request reads or writes first."""

    def ask(number: int) -> httpx.Response:
        client = gated.client
        if work is Work.SEARCHES:
            return client.get(QUERY)
        if work is Work.BULK_SEARCHES:
            return client.post("/search", json={"gallery": "g", "model": "m", "vectors": [[1, 0]] * number})
        if work is Work.WRITES:
            return client.post("/models", json=_model(f"m-{number}"))
        return client.get(f"/galleries?limit={number}")

    at_once = {
        "searches_at_once": 2,
        "bulk_searches_at_once": 2,
        "writes_at_once": 2,
        "reads_at_once": 2,
        "queue_length": 3,
        "queue_seconds": PATIENCE_SECONDS,
    }
    with gated.open(**at_once):
        with gated.locked("models" if work is Work.WRITES else "galleries"):
            asked = [threads.submit(ask, number) for number in range(1, 6)]
            gated.until(work, 2, 3)
            _refused(ask(6))
            assert gated.tells_its_state()
            if work is not Work.READS:
                assert gated.client.get("/evaluations").is_success
            assert gated.queue(work) == (2, 3)
        assert [one.result().is_success for one in asked] == [True] * 5
        gated.until(work, 0, 0)
        assert ask(6).is_success


def test_who_waits_for_longer_than_is_allowed_is_refused(gated: Gated, threads: ThreadPoolExecutor) -> None:
    with gated.open(reads_at_once=1, queue_seconds=0.05), gated.locked("galleries"):
        first = threads.submit(gated.client.get, "/galleries")
        gated.until(Work.READS, 1, 0)
        _refused(gated.client.get("/galleries"))
        assert not first.done()


def test_what_a_client_no_longer_waits_for_is_not_done(gated: Gated, threads: ThreadPoolExecutor) -> None:
    with gated.open(writes_at_once=1, queue_seconds=PATIENCE_SECONDS):
        with gated.locked("models"):
            first = threads.submit(gated.client.post, "/models", json=_model("first"))
            gated.until(Work.WRITES, 1, 0)
            url = gated.client.base_url
            with socket.create_connection((url.host, url.port or 80)) as impatient:
                body = b'{"id": "given-up", "dimension": 2, "metric": "l2"}'
                head = (
                    b"POST /models HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                )
                impatient.sendall(head % len(body) + body)
                gated.until(Work.WRITES, 1, 1)
            gated.until(Work.WRITES, 1, 0)
            last = threads.submit(gated.client.post, "/models", json=_model("last"))
            gated.until(Work.WRITES, 1, 1)
        assert (first.result().status_code, last.result().status_code) == (201, 201)
        assert gated.client.get("/models/given-up").status_code == 404


def test_a_database_whose_connections_are_all_taken_is_told_and_does_not_hide_the_state(
    gated: Gated, threads: ThreadPoolExecutor
) -> None:
    with gated.open(database_connections=1, database_seconds=0.2):
        with gated.locked("galleries"):
            first = threads.submit(gated.client.get, "/galleries/g")
            gated.until(Work.READS, 1, 0)
            wait_until(lambda: gated.client.get("/models").status_code == 503, "the connection to be taken")
            answers = [gated.client.get("/models"), gated.client.post("/models", json=_model("other"))]
            for answer in answers:
                assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
                assert int(answer.headers["Retry-After"]) >= 1
            assert gated.tells_its_state()
        assert first.result().is_success
        wait_until(lambda: gated.client.get("/models").is_success, "the connection to be free")


def test_writers_that_wait_for_one_another_leave_connections_to_readers(
    gated: Gated, threads: ThreadPoolExecutor
) -> None:
    with gated.open(database_connections=2, database_seconds=PATIENCE_SECONDS):
        with gated.locked("models"):
            writes = [threads.submit(gated.client.post, "/models", json=_model(f"m-{n}")) for n in range(4)]
            gated.until(Work.WRITES, 4, 0)
            assert gated.client.get("/evaluations").is_success
        assert [write.result().status_code for write in writes] == [201] * 4


def test_a_read_gives_its_turn_back_once_its_answer_begins_and_a_write_when_it_is_done() -> None:
    async def test() -> None:
        registry = CollectorRegistry()
        metrics = QueueMetrics(registry)
        lines = {work: WaitingLine(work, 1, 1, PATIENCE_SECONDS, metrics.following(work)) for work in Work}
        begun, done = asyncio.Event(), asyncio.Event()

        async def route(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            begun.set()
            await done.wait()

        async def receive() -> Message:
            raise AssertionError("nobody waits, so that nothing is to be received")

        async def send(message: Message) -> None:
            pass

        for method, in_turn in (("GET", 0), ("POST", 1)):
            scope = {"type": "http", "method": method, "path": "/models", "headers": []}
            request = asyncio.ensure_future(Queues(route, lines)(scope, receive, send))
            await begun.wait()
            work = Work.READS if method == "GET" else Work.WRITES
            assert lines[work].in_turn == in_turn
            assert f'crosswalk_queue_in_turn{{work="{work}"}} {in_turn}.0' in generate_latest(registry).decode()
            done.set()
            await request
            assert lines[work].in_turn == 0
            begun.clear()
            done.clear()

    asyncio.run(asyncio.wait_for(test(), PATIENCE_SECONDS))


def test_a_search_refused_by_its_first_bytes_leaves_its_connection_to_the_next(
    gated: Gated, threads: ThreadPoolExecutor
) -> None:
    with gated.open(searches_at_once=1, queue_length=0), _another(gated.client) as one:
        with gated.locked("galleries"):
            first = threads.submit(gated.client.get, QUERY)
            gated.until(Work.SEARCHES, 1, 0)
            for _ in range(3):
                _refused(one.get(QUERY))
            _refused(one.get(QUERY, headers={"X-Request-Id": "mine"}))  # read, and refused by the line
            assert one.get("/healthz").is_success
        assert first.result().is_success
        assert one.get(QUERY).is_success
