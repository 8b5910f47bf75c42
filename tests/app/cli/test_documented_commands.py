"""Every `crosswalk` command that README.md and the pages of docs/ show is there, with the options it is shown with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import app
from app.cli import resources
from app.cli.command import commands
from app.cli.keys import keys

ROOT = Path(app.__file__).parent.parent
ENDINGS = (".parquet", ".zip", ".safetensors", ".npy", ".jsonl", ".tsv", ".csv", ".txt", ".arrow", ".ndjson", ".qrels")
FOLDERS = ("nightly",)
UsageError: Any = typer.BadParameter.__base__  # which typer does not export


def shown(page: str) -> Iterator[list[str]]:
    """The arguments of each command in the page's blocks of shell; of a pipe, of each part."""
    for block in re.findall(r"```(?:bash|sh|console)?\n(.*?)```", page, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.shlex(line, posix=True, punctuation_chars="|;&")
            words.whitespace_split = True
            try:
                parts = list(words)
            except ValueError:  # the first line of a command whose quotes end on another
                continue
            while "crosswalk" in parts:
                parts = parts[parts.index("crosswalk") + 1 :]
                end = next((place for place, word in enumerate(parts) if set(word) <= set("|;&")), len(parts))
                yield parts[:end]


def parse(command: Any, arguments: list[str]) -> None:
    """Reads arguments as a command would, and does nothing. Raises UsageError."""
    if (below := getattr(command, "commands", None)) is None:
        command.make_context("crosswalk", list(arguments))
        return
    name, *rest = arguments
    if name not in below:
        raise UsageError(f"there is no command {name!r}")
    parse(below[name], rest)


def every_command() -> Any:
    group = typer.Typer()
    group.registered_commands = list(commands.registered_commands)
    group.add_typer(keys, name="keys")
    resources.register(group)
    return typer.main.get_command(group)


def test_what_is_no_command_is_not_understood() -> None:
    for wrong in (["apply", "x"], ["upgrades", "frobnicate"], ["search", "faq", "--nonsense", "1"]):
        with pytest.raises(UsageError):
            parse(every_command(), wrong)


PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if any(shown(path.read_text()))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_of_a_page_is_understood(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in shown(path.read_text()):
        for word in arguments:  # files that a command reads have to be there
            if word.endswith(ENDINGS):
                made = tmp_path / word.removeprefix("@").lstrip("/")
                made.parent.mkdir(parents=True, exist_ok=True)
                made.touch()
            elif word.endswith("/") or word in FOLDERS:
                (tmp_path / word).mkdir(exist_ok=True)
        try:
            parse(every_command(), arguments)
        except UsageError as error:
            raise AssertionError(f"crosswalk {shlex.join(arguments)}: {error.format_message()}") from None
