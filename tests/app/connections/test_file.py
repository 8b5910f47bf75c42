"""The operator's file of connections: what it says is taken, and what is wrong with it is told without its secrets."""

from pathlib import Path

import pytest

from app.connections.file import WrongConnections, read_connections


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "connections.toml"
    path.write_text(text)
    return path


def test_connections_have_their_kind_and_the_variables_in_place_of_their_names(tmp_path: Path) -> None:
    path = written(tmp_path, '[faq]\nkind = "pgvector"\nurl = "postgresql://me:${PASSWORD}@db/faq"\nseconds = 5\n')
    connection = read_connections(path, {"PASSWORD": "sesame"})["faq"]
    assert (connection.name, connection.kind) == ("faq", "pgvector")
    assert connection.options == {"url": "postgresql://me:sesame@db/faq", "seconds": 5}
    assert "sesame" not in repr(connection)


def test_without_a_file_there_is_none() -> None:
    assert read_connections(None) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[faq", "not TOML"),
        ('faq = "postgresql://me:sesame@db"', "'faq' is no table"),
        ('[Faq]\nkind = "pgvector"', "the name 'Faq' must match"),
        ('[faq]\nurl = "postgresql://me:sesame@db"', r"\[faq\] has no kind"),
        ('[faq]\nkind = "qdrant"\nurl = "http://${HOST}"', r"\[faq\] url needs the environment variable HOST"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_no_value(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(WrongConnections, match=said) as raised:
        read_connections(written(tmp_path, text), {})
    assert "sesame" not in str(raised.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongConnections, match="cannot be read"):
        read_connections(tmp_path / "none.toml", {})
