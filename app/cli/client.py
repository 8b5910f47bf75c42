"""What the client commands do: one HTTP call each, its JSON answer printed; a problem goes to stderr, with status 1."""

import json
import mimetypes
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import typer

MEDIA_TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.stream",
    ".arrows": "application/vnd.apache.arrow.stream",
    ".npz": "application/x-npz",
    ".json": "application/json",
}
SETTLED = ("ready", "active", "rolled_back", "rejected", "evaluated", "done", "failed", "cancelled")
_LOOK_SECONDS = 0.5


class Client:
    """A service at an address, or at $CROSSWALK_URL, or where `crosswalk serve` listens by default."""

    def __init__(self, url: str | None = None) -> None:
        self._http = httpx.Client(base_url=url or os.environ.get("CROSSWALK_URL", "http://127.0.0.1:8000"), timeout=600)

    def show(self, method: str, path: str, **given: Any) -> None:
        """Makes a call and prints its answer."""
        answer = self.call(method, path, **given)
        if answer.content:
            typer.echo(json.dumps(answer.json(), indent=2, ensure_ascii=False))

    def ids(self, path: str) -> list[str]:
        """The ids of everything that is listed at a path, page by page."""
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = self.call("GET", path, params={"cursor": cursor} if cursor else {}).json()
            found += [one["id"] for one in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                return found

    def upload(self, path: str, file: Path, **parameters: str) -> None:
        """Streams a file as a bulk body; its ending says what it is."""
        media_type = MEDIA_TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        with file.open("rb") as body:
            self.show("PUT", path, params=parameters, content=body, headers={"content-type": media_type})

    def download(self, path: str, file: Path) -> None:
        """Streams an answer into a file, which is there only once it is whole."""
        partial = file.with_name(f".{file.name}.partial")
        with closing(self.call("GET", path, stream=True)) as answer, partial.open("wb") as out:
            for part in answer.iter_bytes():
                out.write(part)
        partial.replace(file)

    def follow(self, path: str, part: str | None = None) -> None:
        """Prints the states and progress of what is at `path`, or of a part of it, as they change; status 1 unless it
        ends well."""
        shown = None
        while True:
            now = self.call("GET", path).json()
            now = now if part is None else now[part]
            progress = now["progress"]
            line = now["state"]
            if progress and progress["total"]:
                line += f"  {progress['done'] / progress['total']:4.0%}"
                if progress["eta_seconds"] is not None:
                    line += f"  {progress['eta_seconds']:.0f} s left"
            if line != shown:
                typer.echo(line)
            shown = line
            if now["state"] in SETTLED:
                break
            time.sleep(_LOOK_SECONDS)
        if now["reason"]:
            typer.echo(now["reason"], err=True)
        if now["state"] in ("rejected", "failed", "cancelled"):
            raise typer.Exit(1)

    def call(self, method: str, path: str, *, stream: bool = False, **given: Any) -> httpx.Response:
        """The answer, its body still to be read where it is a stream; a problem, or no service at all, ends the
        command."""
        try:
            answer = self._http.send(self._http.build_request(method, path, **given), stream=stream)
        except httpx.TransportError as error:
            typer.echo(f"No answer from {self._http.base_url}: {error}. Is `crosswalk serve` running?", err=True)
            raise typer.Exit(1) from None
        if answer.is_error:
            answer.read()
            typer.echo(answer.text, err=True)
            raise typer.Exit(1)
        return answer
