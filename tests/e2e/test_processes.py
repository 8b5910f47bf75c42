"""`crosswalk serve --processes 2`: processes of one gateway, killed and stopped from outside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.failpoints import FAILPOINT, JOURNAL, Failpoint, Trigger
from tests.e2e.service import Service
from tests.e2e.user import checked
from tests.services import RedisServer, postgres_database, runs
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.workers.job_bench import command_line

TWO = ("--processes", "2")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Whose first step stops once it has chosen a sample."""
    folder, stop = tmp_path_factory.mktemp("embedded"), Trigger(Failpoint.SAMPLE_SAVED, "step", 1, "stop")
    yield from started(Service(folder, {FAILPOINT: str(stop), JOURNAL: str(folder / "journal")}, TWO))


@pytest.fixture(scope="module")
def distributed(
    tmp_path_factory: pytest.TempPathFactory, postgres: str, redis_server: RedisServer
) -> Iterator[Service]:
    with postgres_database(postgres) as url:
        variables = {"CROSSWALK_DATABASE_URL": url, "CROSSWALK_BROKER_URL": redis_server.url}
        yield from started(Service(tmp_path_factory.mktemp("distributed"), variables, TWO))


@pytest.fixture(params=["embedded", "distributed"])
def service(request: pytest.FixtureRequest) -> Service:
    made: Service = request.getfixturevalue(request.param)
    return made


def started(service: Service) -> Iterator[Service]:
    service.start()
    all_at_work(service)
    yield service
    service.stop()


def all_at_work(service: Service) -> None:
    wait_until(lambda: len(at_work(service)) == 2, "both processes to serve")


def gateways(service: Service) -> list[psutil.Process]:
    """The processes that requests are answered by."""
    forked = b"multiprocessing.forkserver"
    return [
        one
        for one in service.gateway().children(recursive=True)
        if forked in command_line(one.pid) and forked in command_line(one.ppid())
    ]


def at_work(service: Service) -> set[int]:
    """The processes that answer: each of several connections that come together is of one of them."""
    port = int(service.url.rpartition(":")[2])
    with ThreadPoolExecutor(8) as pool:
        connections = list(pool.map(lambda _: socket.create_connection(("127.0.0.1", port)), range(8)))
    mine = {connection.getsockname()[1] for connection in connections}
    try:
        for connection in connections:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        return {
            process.pid
            for process in gateways(service)
            for one in process.net_connections("tcp4")
            if one.raddr and one.raddr.port in mine
        }
    finally:
        for connection in connections:
            connection.close()


def fill(client: httpx.Client) -> None:
    client.post("/models", json={"id": "m", "dimension": 2, "metric": "l2"}).raise_for_status()
    client.post("/galleries", json={"id": "g", "model": "m"}).raise_for_status()


def test_one_killed_is_replaced_and_meanwhile_every_request_is_answered_by_what_was_acknowledged(
    service: Service,
) -> None:
    with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as client:
        fill(client)
    counted_before, before = counted(service), gateways(service)
    before[0].kill()
    psutil.wait_procs(before[:1], PATIENCE_SECONDS)
    put = 0

    def write_and_search() -> None:
        """Each over a connection of its own, so that whoever takes connections answers."""
        nonlocal put
        items = {"items": [{"id": "a", "embedding": [1, 0], "label": str(put)}]}
        httpx.put(f"{service.url}/galleries/g/items?model=m", json=items, timeout=PATIENCE_SECONDS).raise_for_status()
        for _ in range(2):
            query = {"gallery": "g", "model": "m", "vector": "1,0"}
            found = httpx.get(f"{service.url}/search", params=query, timeout=PATIENCE_SECONDS).raise_for_status()
            assert [hit["label"] for hit in found.json()["results"]] == [str(put)]
        put += 1

    def replaced() -> bool:
        write_and_search()
        return len({process.pid for process in gateways(service)} & at_work(service)) == 2

    wait_until(replaced, "another process to serve in its place")
    write_and_search()
    assert before[1] in gateways(service)
    assert counted(service) == counted_before + 3 * put


def counted(service: Service) -> float:
    """The searches and writes that the metrics tell of, whoever answered them, the killed one included."""
    text = httpx.get(f"{service.url}/metrics", timeout=PATIENCE_SECONDS).raise_for_status().text
    routes = ("/search", "/galleries/{gallery}/items")
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "crosswalk_http_requests_total" and sample.labels["route"] in routes
    )


def test_steps_are_done_by_one_worker_which_is_in_the_process_that_answers_nothing(embedded: Service) -> None:
    with httpx.Client(base_url=embedded.url, timeout=PATIENCE_SECONDS) as client, ThreadPoolExecutor(1) as pool:
        fill(client)
        items = [{"id": str(number), "embedding": [number, 1]} for number in range(20)]
        client.put("/galleries/g/items?model=m", json={"items": items}).raise_for_status()
        choose = partial(client.get, "/galleries/g/sample?n=3")
        asked = pool.submit(wait_until, lambda: checked(choose()), "the sample to be chosen")
        step = wait_until(embedded.stopped_step, "the step to stop at its failpoint")
        assert step is not None
        above = step.parents()[1].pid  # its parent is what steps are forked from
        step.resume()
        assert len(asked.result(PATIENCE_SECONDS)["ids"]) == 3
    assert above == embedded.gateway().pid


def test_processes_need_not_wait_until_the_one_that_starts_them_has_imported_what_they_import() -> None:
    theirs = {"app.main", "app.composition", "lance", "celery"}
    script = f"import sys, app.cli.service, app.cli.processes; print(sorted({theirs} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_processes_end_with_the_one_that_started_them(embedded: Service) -> None:
    processes = gateways(embedded)
    embedded.kill()
    _, alive = psutil.wait_procs(processes, PATIENCE_SECONDS)
    assert alive == []
    embedded.start()
    all_at_work(embedded)


@pytest.mark.parametrize("everyone", [False, True])
def test_asked_to_stop_all_processes_end_once_they_have_answered(embedded: Service, everyone: bool) -> None:
    """everyone: as an init system asks all processes of a service."""
    with httpx.Client(base_url=embedded.url, timeout=PATIENCE_SECONDS) as client:
        fill(client)
    first = partial(httpx.put, f"{embedded.url}/galleries/g/items?model=m", timeout=PATIENCE_SECONDS)
    with ThreadPoolExecutor(8) as pool:  # so that neither process has to start first what decodes
        list(pool.map(lambda number: checked(first(json=[{"id": f"{number}", "embedding": [0, 1]}])), range(8)))
    processes, above = gateways(embedded), embedded.gateway()
    asked = [above, *above.children(recursive=True)] if everyone else [above]
    body = json.dumps({"items": [{"id": "late", "embedding": [1, 0]}]}).encode()
    port = int(embedded.url.rpartition(":")[2])
    with closing(socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)) as connection:
        head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        begun = f"PUT /galleries/g/items?model=m HTTP/1.1\r\n{head}\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(begun.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")  # it is being answered
        for process in asked:
            process.terminate()
        wait_until(lambda: refused(port), "no more connections to be taken")
        assert runs(above)
        connection.sendall(body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    _, alive = psutil.wait_procs([*processes, above], PATIENCE_SECONDS)
    assert alive == []
    embedded.stop()
    embedded.start()
    all_at_work(embedded)


def test_where_what_they_are_forked_from_is_killed_others_take_their_places(embedded: Service) -> None:
    before = gateways(embedded)
    server = before[0].parent()
    assert server is not None
    server.kill()
    _, alive = psutil.wait_procs(before, PATIENCE_SECONDS)
    assert alive == []
    all_at_work(embedded)
    assert not {process.pid for process in before} & {process.pid for process in gateways(embedded)}


def test_a_folder_with_modules_of_the_same_names_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit('not the module that was meant')")
    (tmp_path / "data").mkdir()
    command = [str(Path(sys.executable).with_name("crosswalk")), "serve", "--port", "0", *TWO, "--until-stdin-closes"]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CROSSWALK_")}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=ours, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as served:
        assert served.stdin is not None
        assert served.stdout is not None
        assert served.stdout.readline().startswith("Crosswalk listens on ")
        served.stdin.close()
        assert served.wait(PATIENCE_SECONDS) == 0


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False
