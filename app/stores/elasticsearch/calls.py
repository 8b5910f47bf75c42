"""Calls of Elasticsearch's client: made again where they may be, with errors that show no address."""

import warnings
from collections.abc import Callable
from typing import Any

import elastic_transport
from elasticsearch import ApiError, ElasticsearchWarning, UnsupportedProductError

from app.stores.outages import answered_with, broken, made_again, refused, timed_out
from app.stores.protocol import StoreAway


class NoSuchIndex(Exception):
    """The index, or the point in time of it, does not exist."""


class ElasticsearchCalls:
    """One client. store: what errors call it. timeout: seconds within which each call has to be answered."""

    def __init__(self, client: Any, store: str, timeout: float) -> None:
        self.client, self.store = client, store
        self._timeout = timeout

    def ask(self, method: Callable[..., Any], **named: Any) -> Any:
        """The decoded answer of one of the client's methods, each of which does nothing twice. Raises NoSuchIndex,
        StoreAway."""
        return made_again(lambda: self._asked(method, **named))

    def _asked(self, method: Callable[..., Any], **named: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ElasticsearchWarning)
                return method(**named).body
        except UnsupportedProductError:
            raise StoreAway(f"{self.store} says that it is something else, which its client refuses") from None
        except ApiError as error:
            if error.meta.status == 404:
                raise NoSuchIndex from None
            raise answered_with(self.store, error.meta.status, reason(error.body)) from None
        except elastic_transport.ConnectionTimeout:
            raise timed_out(self.store, self._timeout) from None
        except elastic_transport.TlsError:
            raise StoreAway(f"{self.store} is not who its certificate should say: set `ca_certs`") from None
        except elastic_transport.ConnectionError as error:
            raise (refused if "refused" in str(error) else broken)(self.store) from None
        except elastic_transport.TransportError:
            raise StoreAway(f"{self.store} answered what no Elasticsearch does") from None


def reason(body: Any) -> str | None:
    """What Elasticsearch itself says of a request; None where something before it answered."""
    try:
        cause = body["error"]["root_cause"][0]
        return f"{cause['type']}: {cause['reason']}"
    except (KeyError, IndexError, TypeError):
        return None
