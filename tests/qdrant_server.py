"""Qdrant's engine behind the part of its REST interface that we use: -m tests.qdrant_server FOLDER LISTENER PARENT.

The engine (`qdrant_edge`) is the one of the server, without its network, collections' list and aliases, which are here.
It listens on loopback alone, forgets all when it ends, and ends with the process whose id it is given. It refuses
whoever sends another key than QDRANT_TEST_API_KEY, and says that it is of the version QDRANT_TEST_VERSION: before 1.18
no vector can be added to a collection.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import qdrant_edge as engine
import uvicorn
from fastapi import Body, FastAPI, HTTPException, Request, Response
from qdrant_client import QdrantClient

from tests.waiting import wait_until

API_KEY = "never-to-be-logged"
VERSION = "1.18.0"

Json = Annotated[Any, Body()]


@contextmanager
def qdrant_server(api_key: str = API_KEY, version: str = VERSION) -> Iterator[str]:
    """The address of a server that runs while the context is open."""
    environment = os.environ | {"QDRANT_TEST_API_KEY": api_key, "QDRANT_TEST_VERSION": version}
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "tests.qdrant_server", folder, str(listener.fileno()), str(os.getpid())]
        process = subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()])
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            wait_until(lambda: _answers(url, api_key) or process.poll() is not None, "Qdrant's engine to answer or end")
            assert process.poll() is None
            yield url
        finally:
            process.kill()
            process.wait()


def user_client(url: str) -> QdrantClient:
    """The client of the collections' user."""
    return QdrantClient(url=url, api_key=API_KEY, timeout=60, check_compatibility=False)


def _answers(url: str, api_key: str) -> bool:
    client = QdrantClient(url=url, api_key=api_key, timeout=60, check_compatibility=False)
    try:
        client.info()
    except Exception:  # whatever it is, it does not answer yet
        return False
    finally:
        client.close()
    return True


class Collections:
    """Each collection is a shard of the engine's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.shards: dict[str, engine.EdgeShard] = {}
        self.created: dict[str, dict[str, Any]] = {}
        self.aliases: dict[str, str] = {}
        self.indexes: dict[str, dict[str, Any]] = {}

    def name(self, given: str) -> str:
        name = self.aliases.get(given, given)
        if name not in self.shards:
            raise HTTPException(404, f"Not found: Collection `{given}` doesn't exist!")
        return name

    def create(self, name: str, asked: dict[str, Any]) -> None:
        if name in self.shards:
            raise HTTPException(409, f"Wrong input: Collection `{name}` already exists!")
        vectors = asked["vectors"]
        one = "size" in vectors
        params: Any = _params(vectors) if one else {key: _params(value) for key, value in vectors.items()}
        sparse = {key: engine.EdgeSparseVectorParams() for key in asked.get("sparse_vectors") or {}}
        path = tempfile.mkdtemp(dir=self._folder)
        config = engine.EdgeConfig(vectors=params, sparse_vectors=sparse, wal_enabled=False)
        self.shards[name] = engine.EdgeShard.create(path, config)
        self.created[name] = asked
        self.indexes[name] = {}

    def add_vector(self, name: str, vector: str, config: dict[str, Any]) -> None:
        size, distance = config["size"], config["distance"]
        self.shards[name].update(engine.UpdateOperation.create_dense_vector(vector, size, _distance(distance)))
        vectors = self.created[name]["vectors"]
        named = {"": vectors} if "size" in vectors else vectors
        self.created[name]["vectors"] = {**named, vector: {"size": size, "distance": distance}}

    def remove_vector(self, name: str, vector: str) -> None:
        self.shards[name].update(engine.UpdateOperation.delete_vector_name(vector))
        self.created[name]["vectors"].pop(vector, None)

    def remove(self, name: str) -> None:
        self.shards.pop(name).close()
        self.aliases = {alias: of for alias, of in self.aliases.items() if of != name}

    def info(self, name: str) -> dict[str, Any]:
        asked, shard = self.created[name], self.shards[name].info()
        params = {"vectors": asked["vectors"], "sparse_vectors": asked.get("sparse_vectors"), "shard_number": 1}
        return {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": shard.points_count,
            "segments_count": shard.segments_count,
            "payload_schema": self.indexes[name],
            "config": {
                "params": params,
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                },
            },
        }


def application(folder: Path, api_key: str, version: str) -> FastAPI:
    app, state = FastAPI(), Collections(folder)
    one_at_a_time = threading.Lock()
    done = {"operation_id": 1, "status": "completed"}

    @app.middleware("http")
    async def checked(request: Request, following: Any) -> Response:
        if api_key and request.headers.get("api-key") != api_key:
            return Response("Must provide an API key", 401)
        answer: Response = await following(request)
        return answer

    @app.exception_handler(HTTPException)
    def told(_: Request, error: HTTPException) -> Response:
        return Response(json.dumps({"status": {"error": error.detail}}), error.status_code)

    def answer(result: Any) -> Response:
        return Response(json.dumps({"result": result, "status": "ok", "time": 0.0}), media_type="application/json")

    def update(given: str, operation: engine.UpdateOperation) -> Response:
        with one_at_a_time:
            try:
                state.shards[state.name(given)].update(operation)
            except HTTPException:
                raise
            except Exception as error:  # the engine has this one class
                status = 404 if "No point with id" in str(error) else 400
                raise HTTPException(status, str(error)) from None
        return answer(done)

    @app.get("/")
    def root() -> Response:
        told = {"title": "qdrant - vector search engine", "version": version}
        return Response(json.dumps(told), media_type="application/json")

    @app.get("/collections")
    def collections() -> Response:
        return answer({"collections": [{"name": name} for name in state.shards]})

    @app.get("/aliases")
    def aliases() -> Response:
        pairs = state.aliases.items()
        return answer({"aliases": [{"alias_name": alias, "collection_name": name} for alias, name in pairs]})

    @app.post("/collections/aliases")
    def change_aliases(body: Json) -> Response:
        changed = dict(state.aliases)
        for action in body["actions"]:
            if (made := action.get("create_alias")) is not None:
                if made["collection_name"] not in state.shards or made["alias_name"] in state.shards:
                    raise HTTPException(400, "Wrong input: no such collection, or one of the alias's name")
                changed[made["alias_name"]] = made["collection_name"]
            else:
                changed.pop(action["delete_alias"]["alias_name"], None)
        state.aliases = changed
        return answer(True)

    @app.get("/collections/{given}")
    def collection(given: str) -> Response:
        return answer(state.info(state.name(given)))

    @app.get("/collections/{given}/exists")
    def exists(given: str) -> Response:
        return answer({"exists": given in state.shards or given in state.aliases})

    @app.put("/collections/{given}")
    def create(given: str, body: Json) -> Response:
        state.create(given, body)
        return answer(True)

    @app.patch("/collections/{given}")
    def configure(given: str) -> Response:
        state.name(given)
        return answer(True)

    @app.delete("/collections/{given}")
    def remove(given: str) -> Response:
        with one_at_a_time:
            state.remove(state.name(given))
        return answer(True)

    @app.put("/collections/{given}/vectors/{vector}")
    def add_vector(given: str, vector: str, body: Json) -> Response:
        if tuple(map(int, version.split("."))) < (1, 18):
            raise HTTPException(404, "")
        state.add_vector(state.name(given), vector, body["dense"])
        return answer(done)

    @app.delete("/collections/{given}/vectors/{vector}")
    def remove_vector(given: str, vector: str) -> Response:
        state.remove_vector(state.name(given), vector)
        return answer(done)

    @app.put("/collections/{given}/index")
    def index(given: str, body: Json) -> Response:
        field, kind = body["field_name"], body["field_schema"]
        keyword = engine.PayloadSchemaType.Keyword
        update(given, engine.UpdateOperation.create_field_index(field, keyword))
        state.indexes[state.name(given)][field] = {"data_type": kind, "points": 0}
        return answer(done)

    @app.post("/collections/{given}/points/scroll")
    def scroll(given: str, body: Json) -> Response:
        asked = engine.ScrollRequest(
            offset=body.get("offset"),
            limit=body.get("limit"),
            filter=_filter(body.get("filter")),
            with_payload=body.get("with_payload"),
            with_vector=body.get("with_vector"),
        )
        records, following = state.shards[state.name(given)].scroll(asked)
        return answer({"points": [_record(each) for each in records], "next_page_offset": _id(following)})

    @app.post("/collections/{given}/points/count")
    def count(given: str) -> Response:
        return answer({"count": state.shards[state.name(given)].count(engine.CountRequest(exact=True))})

    @app.post("/collections/{given}/points")
    def retrieve(given: str, body: Json) -> Response:
        shard = state.shards[state.name(given)]
        found = shard.retrieve(body["ids"], body.get("with_payload") or False, body.get("with_vector") or False)
        return answer([_record(each) for each in found])

    @app.put("/collections/{given}/points")
    def upsert(given: str, body: Json) -> Response:
        points = [engine.Point(each["id"], _vector(each["vector"]), each.get("payload")) for each in body["points"]]
        return update(given, engine.UpdateOperation.upsert_points(points))

    @app.put("/collections/{given}/points/vectors")
    def update_vectors(given: str, body: Json) -> Response:
        points = [engine.PointVectors(each["id"], _vector(each["vector"])) for each in body["points"]]
        return update(given, engine.UpdateOperation.update_vectors(points))

    @app.post("/collections/{given}/points/vectors/delete")
    def delete_vectors(given: str, body: Json) -> Response:
        return update(given, engine.UpdateOperation.delete_vectors(body["points"], body["vector"]))

    @app.post("/collections/{given}/points/delete")
    def delete(given: str, body: Json) -> Response:
        return update(given, engine.UpdateOperation.delete_points(body["points"]))

    return app


def _params(asked: dict[str, Any]) -> engine.EdgeVectorParams:
    return engine.EdgeVectorParams(size=asked["size"], distance=_distance(asked["distance"]))


def _distance(name: str) -> engine.Distance:
    return getattr(engine.Distance, name)


def _vector(asked: Any) -> Any:
    if not isinstance(asked, dict):
        return asked
    return {
        name: engine.SparseVector(value["indices"], value["values"]) if isinstance(value, dict) else value
        for name, value in asked.items()
    }


def _filter(asked: Any) -> engine.Filter | None:
    if asked is None:
        return None
    return engine.Filter(must=[engine.HasVectorCondition(each["has_vector"]) for each in asked["must"]])


def _record(record: engine.Record) -> dict[str, Any]:
    return {"id": _id(record.id), "payload": record.payload, "vector": _plain(record.vector)}


def _id(id: Any) -> Any:
    return id if id is None or isinstance(id, int) else str(id)


def _plain(vector: Any) -> Any:
    if isinstance(vector, dict):
        return {name: _plain(each) for name, each in vector.items()}
    if isinstance(vector, engine.SparseVector):
        return {"indices": list(vector.indices), "values": list(vector.values)}
    return vector


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main(folder: str, listener: int, parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    app = application(Path(folder), os.environ["QDRANT_TEST_API_KEY"], os.environ["QDRANT_TEST_VERSION"])
    uvicorn.run(app, fd=listener, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
