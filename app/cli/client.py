"""What the client commands do: one HTTP call each, its JSON answer printed; a problem is a line on stderr, status 1."""

import json
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import typer

from app.cli.authorization import authorization
from app.cli.ending import described, give_up, refuse, told_in_one_line
from app.cli.files import FileType, opened
from app.cli.problem_line import problem_line

SETTLED = ("ready", "active", "rolled_back", "rejected", "evaluated", "done", "failed", "cancelled")
_LOOK_SECONDS = 0.5
_TRIES = 10
_LONGEST_PAUSE_SECONDS = 30
_DEFAULT = "http://127.0.0.1:8000"


class Client:
    """A service at an address, or at $CROSSWALK_URL, or where `crosswalk serve` listens by default."""

    def __init__(self, url: str | None = None) -> None:
        address = _address(url or os.environ.get("CROSSWALK_URL") or _DEFAULT)
        self._http = httpx.Client(base_url=address, timeout=600, headers=authorization())

    def show(self, method: str, path: str, **given: Any) -> None:
        """Makes a call and prints its answer."""
        answer = self.call(method, path, **given)
        if answer.content:
            show(_json(answer))

    def listed(self, path: str) -> list[dict[str, Any]]:
        """Everything that is listed at a path, page by page."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.ask("GET", path, params={"cursor": cursor} if cursor else {})
            found += page["items"]
            if (cursor := page["next_cursor"]) is None:
                return found

    def upload(self, path: str, file: Path, type: FileType | None, *, method: str = "PUT", **parameters: str) -> None:
        """Streams a file as a bulk body, of the type given or else of the one that its name or its beginning tells."""
        with told_in_one_line(), opened(file, type) as (body, media_type):
            self.show(method, path, params=parameters, content=body, headers={"content-type": media_type})

    def download(self, path: str, file: Path, **given: Any) -> None:
        """Streams an answer into a file, which is there only once it is whole."""
        partial = file.with_name(f".{file.name}.partial")
        with (
            told_in_one_line(),
            closing(self.call("GET", path, stream=True, **given)) as answer,
            partial.open("wb") as out,
        ):
            for part in answer.iter_bytes():
                out.write(part)
            partial.replace(file)

    def follow(self, path: str, part: str | None = None) -> None:
        """Prints the states and progress of what is at `path`, or of a part of it, as they change; status 1 unless it
        ends well. How far and how long is said of the step at hand: what the steps after it take is not known."""
        shown = None
        while True:
            now = self.ask("GET", path)
            now = now if part is None else now[part]
            progress = now["progress"]
            line = now["state"]
            if progress and progress["total"]:
                line += f"  {progress['step']} {progress['done'] / progress['total']:4.0%}"
                if progress["eta_seconds"] is not None:
                    line += f"  {progress['eta_seconds']:.0f} s left of this step"
            if line != shown:
                typer.echo(line)
            shown = line
            if now["state"] in SETTLED:
                break
            time.sleep(_LOOK_SECONDS)
        for said in _recommended(now):
            typer.echo(said, err=True)
        if now["reason"]:
            typer.echo(now["reason"], err=True)
        if now["state"] in ("rejected", "failed", "cancelled"):
            raise typer.Exit(1)

    def ask(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        """Makes a call and returns the object that answers it."""
        answer = _json(self.call(method, path, **given))
        if not isinstance(answer, dict):
            give_up(f"{self._http.base_url} is no Crosswalk service: it answered with no JSON object.")
        return answer

    def call(self, method: str, path: str, *, stream: bool = False, **given: Any) -> httpx.Response:
        """The answer, its body still to be read where it is a stream; a problem, or no service at all, ends the
        command. A service that has too much to do is asked again when it says, some times."""
        for _ in range(_TRIES - 1):
            answer = self._answer(method, path, stream, given)
            if (pause := _pause(answer)) is None:
                break
            typer.echo(f"The service is busy; trying again in {pause} s.", err=True)
            time.sleep(pause)
            if (rewind := getattr(given.get("content"), "seek", None)) is not None:
                rewind(0)
        else:
            answer = self._answer(method, path, stream, given)
        if answer.is_error and "json" in answer.headers.get("content-type", ""):
            give_up(problem_line(_json(answer)) or " ".join(answer.text.split()))
        if not answer.is_success:
            give_up(f"{answer.url} answered {answer.status_code} {answer.reason_phrase}, and not as Crosswalk does.")
        return answer

    def _answer(self, method: str, path: str, stream: bool, given: dict[str, Any]) -> httpx.Response:
        try:
            answer = self._http.send(self._http.build_request(method, path, **given), stream=stream)
            if answer.is_error:
                answer.read()
        except httpx.RequestError as error:
            give_up(f"No answer from {self._http.base_url}: {described(error)}. Is `crosswalk serve` running?")
        return answer


def show(value: Any) -> None:
    """Prints JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _recommended(followed: dict[str, Any]) -> list[str]:
    """What an upgrade's report recommends, a line for each gallery; empty before there is a report, or of others."""
    recommended = (followed.get("report") or {}).get("recommendation", {})
    return [
        " ".join(filter(None, [f"Gallery {name!r}:", one["sentence"], one.get("costs")]))
        for name, one in recommended.items()
    ]


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:  # What is not JSON, or not even text.
        give_up(f"{answer.url} answered with what is no JSON. Is it a Crosswalk service?")


def _pause(answer: httpx.Response) -> int | None:
    """Seconds after which a service that refused for want of time, and did nothing, is to be asked again; None where it
    answered otherwise, or takes longer than anybody sits and waits."""
    seconds = answer.headers.get("retry-after", "")
    if answer.status_code != httpx.codes.TOO_MANY_REQUESTS or not seconds.isdecimal():
        return None
    return int(seconds) if int(seconds) <= _LONGEST_PAUSE_SECONDS else None


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        refuse(f"{url!r} is no address of a service: {described(error)}.")
    if address.scheme not in ("http", "https") or not address.host or address.query or address.fragment:
        refuse(f"{url!r} is no address of a service. Give --url or CROSSWALK_URL as http://host:port.")
    return address
