"""milvus-lite's gRPC server as a process of its own: python -m tests.milvus_server FOLDER PORT PARENT.

It listens on loopback alone, and ends with the process whose id it is given. Where MILVUS_TEST_TOKEN is set, it refuses
whoever sends another token, in the words of a Milvus server.
"""

import base64
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from milvus_lite import MilvusLite
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from pymilvus.grpc_gen import milvus_pb2_grpc

_MOST_BYTES = 2**28


class TokenCheck(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Refuses calls without the token, which clients send base64-encoded."""

    def __init__(self, token: str) -> None:
        self._wanted = base64.b64encode(token.encode()).decode()

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        if dict(details.invocation_metadata).get("authorization") == self._wanted:
            return continuation(details)

        def refuse(_request: Any, context: grpc.ServicerContext) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure, please check api key is correct")

        return grpc.unary_unary_rpc_method_handler(refuse)


def main(folder: str, port: int, parent: int) -> None:
    token = os.environ.get("MILVUS_TEST_TOKEN", "")
    sizes = [("grpc.max_receive_message_length", _MOST_BYTES), ("grpc.max_send_message_length", _MOST_BYTES)]
    checks = [TokenCheck(token)] if token else []
    server = grpc.server(ThreadPoolExecutor(8), interceptors=checks, options=sizes)
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(MilvusLite(folder)), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    server.wait_for_termination()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
