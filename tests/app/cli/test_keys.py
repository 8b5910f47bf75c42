"""`crosswalk keys`, and which service starts without any."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import typer
from pydantic import SecretStr, model_validator

from app.cli.settings import settings_or_end
from app.settings import Settings
from tests.command import run_command
from tests.serving import serving
from tests.waiting import wait_until

ADMIN = "not-a-real-admin-key-0123456789abcdef"


def test_a_key_is_made_used_rotated_and_revoked(tmp_path: Path) -> None:
    data = {"CROSSWALK_DATA_DIR": str(tmp_path / "data")}
    made = run_command("keys", "create", "--name", "[/x]", "--scopes", "admin", "--expires", "90d", **data)
    assert made.returncode == 0, made.stderr
    assert f"a new database, made just now of {tmp_path / 'data'}" in made.stderr
    assert "From now on every request needs a key" in made.stderr
    key = made.stdout.strip()
    with serving(Settings(data_dir=tmp_path / "data")) as client:
        service = {"CROSSWALK_URL": str(client.base_url)}
        refused = run_command("models", "list", **service)
        assert refused.returncode == 1
        assert "A key is needed" in refused.stderr
        assert run_command("models", "list", **service, CROSSWALK_KEY=key).returncode == 0
        rotated = run_command("keys", "rotate", key.split("_")[1], **data)
        assert rotated.returncode == 0, rotated.stderr
        (tmp_path / "key").write_text(rotated.stdout)
        asked = "--key-file", str(tmp_path / "key"), "models", "list"
        # A running service takes and refuses keys that the command line changed within a second.
        wait_until(lambda: run_command(*asked, **service).returncode == 0, "the new key to be taken")
        assert run_command("models", "list", **service, CROSSWALK_KEY=key).returncode == 1
    revoked = run_command("keys", "revoke", rotated.stdout.split("_")[1], **data)
    assert revoked.returncode == 0
    assert "no admin's key is left" in revoked.stderr
    shop = ("--scopes", "search", "--galleries", "faq", "--rate", "7/second", "--concurrency", "42")
    more = run_command("keys", "create", "--name", "shop", *shop, **data)
    assert more.returncode == 0
    assert f"the database of {tmp_path / 'data'}" in more.stderr
    listed = run_command("keys", "list", **data).stdout
    assert {"faq", "none", "7/second", "42", "created", "last used"} <= set(re.split(r"  +|\n", listed))
    assert listed.count("revoked") == 2
    assert listed.count("[/x]") == 2
    assert key not in listed


@pytest.mark.parametrize("command", [["list"], ["revoke", "abc"], ["rotate", "abc"]])
def test_where_there_is_no_service_no_key_is_looked_for_and_nothing_made(tmp_path: Path, command: list[str]) -> None:
    refused = run_command("keys", *command, "--data-dir", str(tmp_path / "misspelt"))
    assert refused.returncode == 2
    assert "There is no database" in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--scopes", "root"], "--scopes"),
        (["--scopes", "admin", "--galleries", "faq"], "bound"),
        (["--scopes", "search", "--expires", "soon"], "--expires"),
        (["--scopes", "search", "--expires", "2001-01-01"], "past"),
        (["--scopes", "search", "--rate", "often"], "--rate"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(tmp_path: Path, options: list[str], told: str) -> None:
    refused = run_command("keys", "create", "--name", "a", *options, "--data-dir", str(tmp_path / "data"))
    assert refused.returncode == 2
    assert told in refused.stderr
    assert not (tmp_path / "data").exists()


def test_a_service_without_keys_does_not_listen_to_other_machines(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::"):
        refused = run_command("serve", "--host", host, "--port", "0", "--data-dir", str(tmp_path))
        assert refused.returncode == 1
        assert "crosswalk keys create" in refused.stderr
        assert "listens on" not in refused.stdout
    refused = run_command("serve", "--host", "0.0.0.0", "--data-dir", str(tmp_path), CROSSWALK_ADMIN_KEY="short")
    assert refused.returncode == 1
    assert "at least 32" in refused.stderr
    assert "short" not in refused.stderr.replace("too short", "")


def test_a_key_that_cannot_be_read_ends_the_command(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("two\nlines")
    told = run_command("models", "list", CROSSWALK_KEY_FILE=str(tmp_path / "key"))
    assert (told.returncode, "Traceback" in told.stderr) == (1, False)
    assert "one line" in told.stderr
    assert run_command("models", "list", CROSSWALK_KEY_FILE=str(tmp_path / "missing")).returncode == 1


def test_a_key_of_the_settings_lets_a_client_in(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", admin_key=SecretStr(ADMIN))
    with serving(settings) as client:
        assert run_command("models", "list", CROSSWALK_URL=str(client.base_url), CROSSWALK_KEY=ADMIN).returncode == 0


@pytest.mark.parametrize(
    ("command", "variables", "told"),
    [
        (["serve", "--port", "0"], {"CROSSWALK_KEY_RATE": "foo"}, "CROSSWALK_KEY_RATE"),
        (["keys", "list"], {"CROSSWALK_KEY_RATE": "5/second;10/minute"}, "CROSSWALK_KEY_RATE"),
        (["verify"], {"CROSSWALK_SEARCH_K_LIMIT": "many"}, "CROSSWALK_SEARCH_K_LIMIT"),
        (
            ["backup", "copy"],
            {"CROSSWALK_DATABASE_URL": "mysql://u:pass-word@h:port/db"},
            "CROSSWALK_DATABASE_URL",
        ),
        (["restore", "."], {"CROSSWALK_DATABASE_URL": "pass-word"}, "CROSSWALK_DATABASE_URL"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_in_one_line_without_secrets(
    tmp_path: Path, command: list[str], variables: dict[str, str], told: str
) -> None:
    ended = run_command(*command, "--data-dir", str(tmp_path / "data"), CROSSWALK_ADMIN_KEY=ADMIN, **variables)
    assert ended.returncode == 1
    assert ended.stderr.startswith(told)
    assert ended.stderr.count("\n") == 1
    assert ADMIN not in ended.stderr + ended.stdout
    assert "pass-word" not in ended.stderr + ended.stdout
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "command",
    [["migrate"], ["serve", "--port", "0"], ["keys", "list"]],
)
def test_a_database_that_cannot_be_reached_is_told_in_one_line(tmp_path: Path, command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql+psycopg://user:pass-word@127.0.0.1:{port}/none"
    (tmp_path / "data").mkdir()
    ended = run_command(*command, "--data-dir", str(tmp_path / "data"), CROSSWALK_DATABASE_URL=url)
    assert ended.returncode == 1
    assert ended.stderr.startswith("The database cannot be reached: ")
    assert ended.stderr.count("\n") == 1
    assert "pass-word" not in ended.stderr + ended.stdout
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


def test_settings_that_are_wrong_together_are_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Together(Settings):
        @model_validator(mode="after")
        def _never(self) -> Together:
            raise ValueError("these do not fit")

    monkeypatch.setenv("CROSSWALK_ADMIN_KEY", ADMIN)
    monkeypatch.setattr("app.cli.settings.Settings", Together)
    with pytest.raises(typer.Exit):
        settings_or_end(tmp_path)
    told = capsys.readouterr().err
    assert "these do not fit" in told
    assert ADMIN not in told
