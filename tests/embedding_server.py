"""An embedder on loopback: OpenAI's protocol over real HTTP, and failures as real ones have, when it is told to."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from tests.worlds import Floats

Fault = str
"""What one request is answered with in place of vectors: a status, such as `500` or `429 Retry-After: 1`; `drop`;
`stall`; `cut`, which breaks off in the midst of the answer, and `half`, which stalls there; `echo`, which is 400 with
more text than an answer has, of what the request said of itself; or an answer with something wrong: `few`, `dimension`,
`nan`, `zeros`, `huge`, `order`, `other model`, `no json`, `untold tokens`."""

REFUSED = ("4", "503", "3")
"""How faults begin that no embedder charges for."""


def hashed(dimension: int) -> Callable[[str], Floats]:
    """A model of as many dimensions that tells texts apart, and knows nothing of what they mean."""

    def embed(text: str) -> Floats:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
        return np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)

    return embed


@dataclass(frozen=True)
class Received:
    """One request, and when it came. fault: what it was answered with; None with vectors."""

    at: float
    texts: list[str]
    body: dict[str, Any]
    authorization: str | None
    fault: Fault | None

    @property
    def charged(self) -> bool:
        """Whether a real embedder may have charged for it."""
        return self.fault is None or not self.fault.startswith(REFUSED)


@dataclass
class EmbeddingServer:
    """What it was asked, and what it is to do with the next requests."""

    embed: Callable[[str], Floats]
    model: str = "test-model"
    received: list[Received] = field(default_factory=list)
    url: str = ""
    usage: bool = True
    connections: int = 0
    """That are open, or whose last request is still being read."""
    _faults: deque[Fault | None] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ending: threading.Event = field(default_factory=threading.Event)

    def then(self, *faults: Fault | None) -> None:
        """Has the next requests fail so, one each; None answers one well."""
        self._faults.extend(faults)

    def let_go(self) -> None:
        """Breaks off what stalls."""
        self._ending.set()

    @property
    def charged(self) -> list[str]:
        """Every text, as often as it may have been charged for."""
        return [text for one in self.received if one.charged for text in one.texts]

    def connection(self, name: str, **options: Any) -> str:
        """The table of a file of connections that leads here."""
        given = {"kind": "openai", "url": f"{self.url}/v1", "model": self.model, **options}
        return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in given.items()), ""])

    def _take(self, body: dict[str, Any], authorization: str | None) -> Received:
        given = body["input"]
        texts = [given] if isinstance(given, str) else list(given)
        with self._lock:
            fault = self._faults.popleft() if self._faults else None
            one = Received(time.monotonic(), texts, body, authorization, fault)
            self.received.append(one)
        return one

    def _answer(self, one: Received) -> dict[str, Any]:
        vectors = [self.embed(text) for text in one.texts]
        if one.fault == "few":
            vectors = vectors[:-1]
        if one.fault == "dimension":
            vectors = [vector[:-1] for vector in vectors]
        if one.fault == "nan":
            vectors[-1] = np.full_like(vectors[-1], np.nan)
        if one.fault == "zeros":
            vectors[-1] = np.zeros_like(vectors[-1])
        order = list(range(len(vectors)))[:: -1 if one.fault == "order" else 1]
        binary = one.body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode() if binary else vector.tolist(),
            }
            for index, vector in zip(order, vectors, strict=True)
        ]
        if one.fault == "huge":
            data[-1]["embedding"] = [10**400] * len(vectors[-1])
        tokens = sum(len(text.split()) for text in one.texts)
        answer = {"object": "list", "data": data, "model": one.body.get("model")}
        if one.fault == "other model":
            answer["model"] = "another-model"
        if one.fault == "untold tokens":
            tokens = 10**30
        return answer | ({"usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if self.usage else {})


@contextmanager
def embedding_server(embed: Callable[[str], Floats], **more: Any) -> Iterator[EmbeddingServer]:
    """A server that listens while the context is open."""
    server = EmbeddingServer(embed, **more)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            with server._lock:
                server.connections += 1
            super().setup()

        def finish(self) -> None:
            try:
                super().finish()
            finally:
                with server._lock:
                    server.connections -= 1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            one = server._take(body, self.headers.get("authorization"))
            fault = one.fault or ""
            if fault == "drop":
                self.close_connection = True
                self.connection.close()
                return
            if fault == "stall":
                server._ending.wait()
                self.close_connection = True
                return
            if fault == "echo":
                told = f"{self.headers['host']} {one.authorization} does not like {' ' * 2**17} that"
                self._send(400, told.encode())
                return
            if fault in ("cut", "half"):
                content = json.dumps(server._answer(one)).encode()
                self._send(200, content, of=2 * len(content))
                if fault == "half":
                    server._ending.wait()
                self.close_connection = True
                return
            status, _, header = fault.partition(" ")
            if status.isdecimal():
                self._send(int(status), json.dumps({"error": {"message": "as told to"}}).encode(), header)
            else:
                content = b"<html>" if fault == "no json" else json.dumps(server._answer(one)).encode()
                self._send(200, content)

        def _send(self, status: int, content: bytes, header: str = "", of: int | None = None) -> None:
            self.send_response(status)
            if header:
                self.send_header(*header.split(": ", 1))
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content) if of is None else of))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server.url = f"http://127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server._ending.set()
        listener.shutdown()
        thread.join()
        listener.server_close()


def connections_file(folder: Path, *tables: str) -> Path:
    """A file of connections with these tables."""
    path = folder / "connections.toml"
    path.write_text("\n".join(tables))
    return path
