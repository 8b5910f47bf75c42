"""Calls of Milvus's client, with a time limit each, and errors that show no address."""

import json
import logging
from collections.abc import Sequence
from typing import Any

from grpc import FutureTimeoutError, RpcError
from pydantic import Field, SecretStr, field_validator
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException, ParamError

from app.connections.options import ConnectionOptions
from app.stores.outages import PassingOutage, made_again
from app.stores.protocol import StoreAway

_NOT_THERE, _NOT_LOADED = 100, 101
_CONNECT_FAILED = 2  # what gRPC itself says has no number
_PASSING = ("not ready", "UNAVAILABLE", "DEADLINE_EXCEEDED", "rate limit")
_REFUSES = ("UNAUTHENTICATED", "auth check failure", "PERMISSION_DENIED", "permission deny")
_CHANNEL = {
    "grpc.keepalive_permit_without_calls": 0,  # a server of gRPC's defaults hangs up on who does
    # A server that is back is found within a second; gRPC would wait up to two minutes after a few failures.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    "grpc.use_local_subchannel_pool": 1,
}


class MilvusOptions(ConnectionOptions):
    """uri: http(s)://host:port. token: an API key, or user:password. timeout_s: seconds within which each call has to
    be answered."""

    uri: SecretStr
    token: SecretStr | None = None
    database: str = ""
    timeout_s: float = Field(30.0, gt=0)

    @field_validator("uri")
    @classmethod
    def _is_a_server(cls, uri: SecretStr) -> SecretStr:
        if not uri.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("write http(s)://host:port")
        return uri


class NoCollection(Exception):
    """There is no collection of this name."""


class NotLoaded(Exception):
    """The collection is there, and cannot be read until it is loaded."""


class MilvusCalls:
    """One client, connected with the first call. store: what errors call it."""

    def __init__(self, options: MilvusOptions, store: str) -> None:
        self.store = store
        self._options = options
        self._client: MilvusClient | None = None

    def ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        """The answer of one of the client's methods, each of which does nothing twice.

        Raises StoreAway, NoCollection and NotLoaded.
        """
        return made_again(lambda: self._asked(method, *arguments, **named))

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _asked(self, method: str, *arguments: Any, **named: Any) -> Any:
        named.setdefault("timeout", self._options.timeout_s)
        try:
            return getattr(self._connected(), method)(*arguments, **named)
        except (MilvusException, RpcError, FutureTimeoutError) as error:
            raise self._told(error) from None

    def _told(self, error: Exception) -> Exception:
        text = f"{error} {error.__cause__ or ''}"  # of a connection that cannot be made, pymilvus says why only there
        code = getattr(error, "code", None)
        if any(words in text for words in _REFUSES):
            return StoreAway(f"{self.store} refuses the connection's credentials")
        if code == _NOT_THERE or "collection not found" in text:
            return NoCollection()
        if code == _NOT_LOADED or "not loaded" in text:
            return NotLoaded()
        if isinstance(error, ParamError) or (
            isinstance(code, int) and code != _CONNECT_FAILED and not any(words in text for words in _PASSING)
        ):
            return StoreAway(f"{self.store} refused the request (Milvus's code {code}): {_reason(error)}")
        return PassingOutage(f"{self.store} did not answer within {self._options.timeout_s:g} seconds, or is not there")

    def _connected(self) -> MilvusClient:
        if self._client is None:
            logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what it logs shows addresses
            options = self._options
            self._client = MilvusClient(
                options.uri.get_secret_value(),
                token=options.token.get_secret_value() if options.token else "",
                db_name=options.database,
                timeout=options.timeout_s,
                grpc_options=_CHANNEL,
            )
        return self._client


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", ""))[:200]


def among(field: str, keys: Sequence[int | str]) -> str:
    """The condition that a field is one of some keys. JSON writes strings as Milvus's expressions do."""
    return f"{field} in {json.dumps(list(keys), ensure_ascii=False)}"


def behind(field: str, key: int | str | None, *, text: bool) -> str:
    """The condition that a field comes behind a key in Milvus's order of keys; all do behind None."""
    if key is None:
        key = "" if text else -(2**63) + 1
        return f"{field} >= {json.dumps(key)}"
    return f"{field} > {json.dumps(key, ensure_ascii=False)}"
