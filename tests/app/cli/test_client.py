"""The client commands in this process, against a real service: ids, vectors and files as people have them."""

from __future__ import annotations

import base64
import gzip
import io
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from app.cli import resources
from app.cli.files import opened
from app.cli.paths import path_of
from app.cli.problem_line import problem_line
from app.http.listener import listen
from app.settings import Settings
from app.storage.database import Database
from app.upgrades.states import UpgradeState
from tests.app.upgrades.report_example import GALLERY, LEARNED
from tests.serving import serving
from tests.upgrade_rows import store_upgrade

ODD_IDS = (
    "a/b",
    "..",
    ".",
    "../galleries/g",
    "x#y",
    "x?v=1",
    "x%2Fy",
    "%2e%2e",
    "né 世界",
    "-x",
    "a&b",
    "a+b",
    "a;b,c",
)
commands = typer.Typer()
resources.register(commands)


def _run(url: str, *words: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(commands, [*words, f"--url={url}"], input=stdin)


def _printed(done: Result) -> Any:
    """The JSON that a command printed; the service, in this process too, logs to the same output."""
    assert done.exit_code == 0, done.output
    return json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("{\n"))[0]


@pytest.fixture(scope="module")
def url(shared_client: httpx.Client) -> str:
    """A gallery `g` of three numbers, with items of odd ids."""
    shared_client.post("/models", json={"id": "m", "dimension": 3, "metric": "l2"})
    shared_client.post("/galleries", json={"id": "g", "model": "m"})
    items = [{"id": id, "embedding": [place, 0, 0], "payload": {"place": place}} for place, id in enumerate(ODD_IDS)]
    assert shared_client.put("/galleries/g/items?model=m", json=items).status_code == 200
    return str(shared_client.base_url)


@pytest.mark.parametrize("id", [*ODD_IDS, "", "m\n", "m/", "M", "m/../m", "a" * 64])
@pytest.mark.parametrize("command", [("models", "delete"), ("galleries", "show"), ("upgrades", "cancel")])
def test_what_can_be_no_id_is_refused_before_anything_is_asked(command: tuple[str, str], id: str) -> None:
    done = CliRunner().invoke(commands, [*command, "--url=http://127.0.0.1:1", "--", id])
    assert done.exit_code == 2, done.output
    assert "is no id" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("id", ODD_IDS)
def test_an_item_is_read_whatever_its_id_holds(url: str, id: str) -> None:
    done = _run(url, "galleries", "item", "g", id)
    assert done.exit_code == 0, done.output
    assert _printed(done)["payload"] == {"place": ODD_IDS.index(id)}


def test_the_doctor_says_what_it_could_not_judge(url: str) -> None:
    done = _run(url, "doctor", "--gallery=g")
    assert done.exit_code == 0, done.output
    assert '"healthy": null' in done.stdout
    assert "Gallery 'g', model 'm': not judged." in done.stderr


def test_following_an_upgrade_ends_with_what_its_report_recommends(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with serving(settings) as client:
        store_upgrade(
            Database(settings.sqlalchemy_url),
            "told",
            UpgradeState.EVALUATED,
            ["shop"],
            learned=LEARNED,
            proofs={"shop": GALLERY},
            reason="The gate is missed.",
        )
        done = _run(str(client.base_url), "upgrades", "follow", "told")
    assert done.exit_code == 0, done.output
    said = GALLERY["recommendation"]
    assert done.stderr.splitlines() == [
        f"Gallery 'shop': {said['sentence']} {said['costs']}",
        "The gate is missed.",
    ]


def test_a_path_has_one_segment_for_each_thing_named() -> None:
    for text in ODD_IDS:
        path = httpx.Client(base_url="http://h/prefix").build_request("GET", path_of("a", text, "b")).url.raw_path
        segments = path.decode().split("/")
        assert segments[:3] + segments[4:] == ["", "prefix", "a", "b"]
        assert unquote(segments[3]) == text


VECTOR = np.array([-0.1, 2.0, -3e-1], np.float32)
_BASE64 = base64.urlsafe_b64encode(VECTOR.tobytes()).decode()


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.mark.parametrize(
    "words",
    [("-0.1,2,-3e-1",), ("--", "-0.1,2,-3e-1"), ("--vector=-0.1,2,-3e-1",), ("--vector", "-0.1,2,-3e-1"), (_BASE64,)],
)
def test_a_vector_may_begin_with_a_minus(url: str, words: tuple[str, ...]) -> None:
    arguments = ["search", "--model=m", f"--url={url}", "--k=1", "g", *words]
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code == 0, done.output
    assert [hit["id"] for hit in _printed(done)["results"]] == ["a/b"]


def test_base64url_may_begin_with_a_minus(url: str) -> None:
    vector = next(
        text
        for number in np.random.default_rng(0).standard_normal((10_000, 3)).astype(np.float32)
        if (text := base64.urlsafe_b64encode(number.tobytes()).decode()).startswith("-")
    )
    assert _run(url, "search", "g", vector, "--model=m").exit_code == 0


@pytest.mark.parametrize(
    "content",
    [
        b"-0.1,2,-3e-1\n",
        b"-0.1 2\n-0.3",
        b"[-0.1, 2, -0.3]",
        b'{"vector": [-0.1, 2, -0.3]}',
        b"[[-0.1, 2, -0.3]]",
        b"\xef\xbb\xbf-0.1,2,-0.3",
        _BASE64.encode(),
        _npy(VECTOR),
        _npy(VECTOR[None]),
        _npy(np.array([0, 2, 0])),
    ],
)
def test_a_vector_is_read_from_a_file_or_from_standard_input(url: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "query").write_bytes(content)
    for words in ((f"@{tmp_path / 'query'}",), (f"--vector=@{tmp_path / 'query'}",), ("@-",)):
        done = _run(url, "search", "g", *words, "--model=m", "--k=1", stdin=content)
        assert done.exit_code == 0, done.output
        assert [hit["id"] for hit in _printed(done)["results"]] == ["a/b"]


def test_a_search_is_filtered(url: str) -> None:
    for filter, found in (('{"payload.place": {"lt": 2}}', ["a/b", ".."]), ('{"id": {"eq": "né 世界"}}', ["né 世界"])):
        done = _run(url, "search", "g", "0,0,0", "--model=m", f"--filter={filter}")
        assert [hit["id"] for hit in _printed(done)["results"]] == found
    done = _run(url, "search", "g", "0,0,0", "--model=m", '--filter={"label": {"like": "x"}}')
    assert done.exit_code == 1
    assert "/label/like" in done.stderr


@pytest.mark.parametrize(
    "vector",
    [
        "",
        "a,b",
        "1,2,x",
        "@/no/such/file",
        "@/",
        "[1,",
        "[true]",
        "{}",
        "[[1],[2,3]]",
        "nan,1,2",
        "1,2",
        "--follow",
        "é",
    ],
)
def test_what_is_no_vector_is_told_in_one_line(url: str, vector: str) -> None:
    done = CliRunner().invoke(commands, ["search", "--model=m", f"--url={url}", "--", "g", vector])
    assert done.exit_code in (1, 2)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_a_file_without_an_at_is_told_how_to_be_read(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("q.npy", "query"):
        Path(name).write_bytes(_npy(VECTOR))
        done = _run(url, "search", "g", name, "--model=m")
        assert done.exit_code == 2
        assert f"write @{name}." in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_problem_is_told_in_words_with_the_places_that_are_wrong(url: str) -> None:
    done = _run(url, "models", "register", "second", "--dimension=0", "--metric=sine")
    assert done.exit_code == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("The request was understood, but something in it is wrong: 2 things are wrong")
    assert "/dimension: " in line
    assert "/metric: " in line
    assert "{" not in line
    assert _run(url, "models", "show", "nothing").stderr.splitlines()[-1].startswith("There is no such resource: ")


def test_a_problem_line_says_nothing_twice() -> None:
    told = {"title": "Not found", "detail": "There is no item 'x'."}
    assert problem_line(told | {"errors": [{"parameter": "like", "message": told["detail"]}]}) == (
        "Not found: There is no item 'x'. [like]"
    )
    two = {"title": "t", "detail": "/a: is missing"}
    errors = [{"pointer": place, "message": "is missing"} for place in ("/a", "/b")]
    assert problem_line(two | {"errors": errors}) == "t: /a: is missing [/b: is missing]"


def test_a_problem_line_holds_nothing_that_a_terminal_acts_on() -> None:
    body = {"title": "t", "status": 503, "detail": "a\x1b[31m\nb\ud800", "used_by": ["x"], "request_id": "r1"}
    assert problem_line(body) == "t: a�[31m b� [x] (request_id r1)"
    others: list[object] = [{}, [], {"detail": "d"}, {"title": "t", "detail": 1}, "text", None]
    assert [problem_line(other) for other in others] == [None] * len(others)


def test_a_vector_of_any_length_is_sent(url: str, shared_client: httpx.Client) -> None:
    shared_client.post("/models", json={"id": "long", "dimension": 8_192, "metric": "cosine"})
    shared_client.post("/galleries", json={"id": "long", "model": "long"})
    done = _run(url, "search", "long", ",".join(["-0.123456789"] * 8_192), "--model=long")
    assert _printed(done)["results"] == [], done.output


@pytest.mark.parametrize(
    "address",
    ["nonsense", "http://", "ftp://x", "http://[::1", "http://h:99999999", "http://h?x", "http://127.0.0.1:1"],
)
def test_an_address_that_leads_nowhere_is_told_in_one_line(address: str) -> None:
    done = _run(address, "models", "list")
    assert done.exit_code in (1, 2)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit)


def _table() -> pa.Table:
    return pa.table({"id": ["t"], "embedding": pa.array([[9.0, 9, 9]], pa.list_(pa.float32(), 3))})


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(_table(), out)
    return out.getvalue()


def _arrow(make: object) -> bytes:
    out = io.BytesIO()
    with make(out, _table().schema) as writer:  # type: ignore[operator]
        writer.write_table(_table())
    return out.getvalue()


_FILE, _STREAM = _arrow(pa.ipc.new_file), _arrow(pa.ipc.new_stream)
_JSON, _LINES = b'[{"id": "t", "embedding": [9, 9, 9]}]', b'{"id": "t", "embedding": [9, 9, 9]}\n'


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("x.parquet", _parquet(), "application/vnd.apache.parquet"),
        ("X.PARQUET", _parquet(), "application/vnd.apache.parquet"),
        ("x.pq", _parquet(), "application/vnd.apache.parquet"),
        ("no-ending", _parquet(), "application/vnd.apache.parquet"),
        ("x.data", _JSON, "application/json"),
        ("x.json", _JSON, "application/json"),
        ("x.json.gz", gzip.compress(_JSON, mtime=0), "application/json"),
        ("x.gz", gzip.compress(_parquet(), mtime=0), "application/vnd.apache.parquet"),
        ("x.jsonl", _LINES, "application/x-ndjson"),
        ("x.NDJSON", _LINES, "application/x-ndjson"),
        ("x.arrow", _FILE, "application/vnd.apache.arrow.file"),
        ("x.arrow", _STREAM, "application/vnd.apache.arrow.stream"),
        ("x.arrows", _STREAM, "application/vnd.apache.arrow.stream"),
        ("x.feather", _FILE, "application/vnd.apache.arrow.file"),
    ],
)
def test_a_file_is_of_the_type_that_its_ending_or_its_beginning_tells(
    tmp_path: Path, name: str, content: bytes, media_type: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with opened(tmp_path / name, None) as (body, told):
        assert told == media_type
        assert b"".join(body) == (gzip.decompress(content) if name.endswith(".gz") else content)


def test_a_file_is_uploaded_as_what_it_is_said_to_be(url: str, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(_JSON, mtime=0))
    (tmp_path / "x.parquet").write_bytes(_STREAM)
    for words in (("x.gz",), ("x.parquet", "--type=arrow-stream")):
        done = _run(url, "galleries", "put", "g", str(tmp_path / words[0]), *words[1:], "--model=m")
        assert done.exit_code == 0, done.output
        assert _printed(done)["updated"] + _printed(done)["inserted"] == 1


@pytest.mark.parametrize(
    ("name", "content"), [("x", b"?"), ("x.npy", b""), ("x.gz", gzip.compress(_JSON * 99, mtime=0)[:60])]
)
def test_a_file_of_no_known_type_or_cut_short_is_told_in_one_line(
    url: str, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    done = _run(url, "galleries", "put", "g", str(tmp_path / name), "--model=m")
    assert done.exit_code in (1, 2)
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_service_that_is_not_crosswalk_is_told_in_one_line() -> None:
    with listen("127.0.0.1", 0) as listener:
        for answer in (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            b"HTTP/1.1 302 Found\r\n\r\n",
            b"SSH-2.0\r\n",
            b"",
        ):

            def serve(answer: bytes = answer) -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(10_000)
                    connection.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            done = _run(f"http://127.0.0.1:{listener.getsockname()[1]}", "models", "list")
            thread.join()
            assert done.exit_code == 1
            assert len(done.stderr.splitlines()) == 1, done.stderr
