"""Kinds of stores: what a connection of each is given is checked when a process starts, and told without values."""

from pathlib import Path

import pytest

from app.connections.configured import configured_connections
from app.connections.file import ConfiguredConnection, WrongConnections
from app.stores import kinds
from app.stores.kinds import STORE_KINDS, ConfiguredStores, ListedKind, UnknownConnection
from app.stores.protocol import Place, StoreAway


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "connections.toml"
    path.write_text(text)
    return path


def test_a_connection_is_opened_by_its_name_and_an_unknown_one_is_refused_with_those_there_are(tmp_path: Path) -> None:
    text = '[faq]\nkind = "pgvector"\nurl = "postgresql://me:sesame@127.0.0.1:1/faq"\n'
    stores = configured_connections(file(tmp_path, text)).stores
    stores.open("faq", Place("items")).close()
    with pytest.raises(UnknownConnection, match="'fax'; there are: faq"):
        stores.open("fax", Place("items"))
    with pytest.raises(UnknownConnection, match="none"):
        ConfiguredStores({}).open("faq", Place("items"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "oracle"', r"\[faq\] .* 'oracle'.*there are .*pgvector"),
        ('kind = "pgvector"', "url is missing"),
        ('kind = "pgvector"\nurl = 5', "url: .*string"),
        ('kind = "pgvector"\nurl = "sesame"', "url: is no URI"),
        ('kind = "pgvector"\nurl = "dbname=x"\npasword = "sesame"', "pasword is no key of this kind"),
    ],
)
def test_wrong_options_are_told_by_their_names_alone(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(WrongConnections, match=said) as raised:
        configured_connections(file(tmp_path, f"[faq]\n{text}\n"))
    assert "sesame" not in str(raised.value)


def test_options_are_not_shown() -> None:
    kind, options = ConfiguredStores(
        {"faq": ConfiguredConnection("faq", "pgvector", {"url": "postgresql://me:sesame@db/faq"})}
    )._kinds["faq"]
    assert "sesame" not in f"{options} {options!r} {kind!r}"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("qdrant", {"url": "http://127.0.0.1:1", "api_key": "sesame"}),
        ("chroma", {"url": "http://127.0.0.1:1", "token": "sesame"}),
        ("milvus", {"uri": "http://127.0.0.1:1", "token": "sesame"}),
        ("elasticsearch", {"url": "http://127.0.0.1:1", "api_key": "sesame"}),
        ("elasticsearch", {"url": "http://127.0.0.1:1", "user": "me", "password": "sesame"}),
    ],
)
def test_secrets_are_shown_neither_whole_nor_by_their_fields(kind: str, options: dict[str, str]) -> None:
    _, checked = ConfiguredStores({"faq": ConfiguredConnection("faq", kind, options)})._kinds["faq"]
    assert "sesame" not in f"{checked!r} {checked.model_dump()} {[getattr(checked, name) for name in options]}"


def test_what_a_client_says_of_its_address_when_it_is_opened_is_not_passed_on() -> None:
    address = {"url": "http://qdrant:sesame", "api_key": "open"}
    stores = ConfiguredStores({"faq": ConfiguredConnection("faq", "qdrant", address)})
    with pytest.raises(StoreAway, match="'faq' failed") as raised:
        stores.open("faq", Place("items"))
    assert "sesame" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_a_kind_whose_client_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ListedKind("app.stores.pgvector", needs=("no_such_client",), extra="pgvector")
    monkeypatch.setattr(kinds, "STORE_KINDS", {**STORE_KINDS, "pgvector": listed})
    with pytest.raises(WrongConnections, match=r"no_such_client: pip install '\.\[pgvector\]'"):
        ConfiguredStores({"faq": ConfiguredConnection("faq", "pgvector", {"url": "dbname=x"})})


def test_every_kind_is_defined_where_it_is_listed() -> None:
    for name, listed in STORE_KINDS.items():
        with pytest.raises(WrongConnections, match=r"\[faq\]"):
            ConfiguredStores({"faq": ConfiguredConnection("faq", name, {"no such key": 1})})
        assert bool(listed.extra) == bool(listed.needs)
