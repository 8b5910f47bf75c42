"""A saved model gives the same vectors bit for bit, and nothing else is taken for it."""

import dataclasses
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch

from models.embedding_model import EmbeddingModel, artifact, load, save, zipped
from models.portable import CorruptArtifact, publish
from tests.models.embedding_model.tiny import inputs, model


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def trained() -> EmbeddingModel:
    return model()


@pytest.fixture
def folder(trained: EmbeddingModel, tmp_path: Path) -> Path:
    save(trained, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    zipped(folder, tmp_path / "model.zip")
    return tmp_path / "model.zip"


@pytest.mark.parametrize("family", ["resnet", "regnet", "vit", "bert", "modernbert"])
def test_the_way_to_disk_and_back_keeps_every_bit(family: str, tmp_path: Path) -> None:
    before = model(family)
    card = save(before, tmp_path / "model")
    zipped(tmp_path / "model", tmp_path / "model.zip")
    torch.manual_seed(99)
    for path in (tmp_path / "model", tmp_path / "model.zip"):
        back = load(path)
        assert back.card == card
        assert dataclasses.replace(card, sha256="") == before.card
        assert back.preprocessing == before.preprocessing
        np.testing.assert_array_equal(back.embed(inputs(back)), before.embed(inputs(before)))


def test_the_same_model_gives_the_same_bytes(trained: EmbeddingModel, folder: Path, tmp_path: Path) -> None:
    save(trained, tmp_path / "again")
    assert contents(folder) == contents(tmp_path / "again")
    zipped(folder, tmp_path / "one.zip")
    os.utime(folder / "card.json", (0, 0))
    zipped(folder, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_memory_layout_is_not_kept(trained: EmbeddingModel, folder: Path, tmp_path: Path) -> None:
    """Training keeps weights channels last; what is saved does not depend on it."""
    trained.embedder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save(trained, tmp_path / "again")
    assert contents(folder) == contents(tmp_path / "again")


def test_saving_again_replaces_the_model_and_leaves_nothing_behind(folder: Path) -> None:
    other = model(seed=1)
    save(other, folder)
    assert len(contents(folder)) == 2
    np.testing.assert_array_equal(load(folder).embed(inputs(other)), other.embed(inputs(other)))


@pytest.mark.parametrize("survivors", [0, 1])
def test_a_crash_while_saving_leaves_the_model_before(
    folder: Path, trained: EmbeddingModel, monkeypatch: pytest.MonkeyPatch, survivors: int
) -> None:
    published: list[Path] = []

    def crash(path: Path, content: bytes, publish: Any = publish) -> None:
        if len(published) == survivors:
            raise KeyboardInterrupt
        published.append(path)
        publish(path, content)

    monkeypatch.setattr(artifact, "publish", crash)
    with pytest.raises(KeyboardInterrupt):
        save(model(seed=1), folder)
    np.testing.assert_array_equal(load(folder).embed(inputs(trained)), trained.embed(inputs(trained)))


def test_a_flipped_bit_anywhere_is_refused(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, sound in contents(folder).items():
        for place in (0, 7, 8, len(sound) - 1, *rng.integers(0, len(sound), 40).tolist()):
            broken = bytearray(sound)
            broken[place] ^= 1 << int(rng.integers(8))
            (folder / name).write_bytes(broken)
            with pytest.raises(CorruptArtifact):
                load(folder)
        (folder / name).write_bytes(sound)
    load(folder)


def _card(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "card.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _weights(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: change(next(folder.glob("weights-*")))


@pytest.mark.parametrize(
    "spoil",
    [
        _card(metric="l2"),
        _card(preprocessing={"modality": "image", "image_size": 12, "tokens": 64, "tokenizer": None}),
        _card(card_sha256="0" * 64),
        lambda folder: (folder / "card.json").unlink(),
        lambda folder: (folder / "card.json").write_bytes(b"\xff\xfe{"),
        lambda folder: (folder / "card.json").write_text("[]"),
        lambda folder: (folder / "card.json").write_text("{}"),
        _weights(lambda path: path.unlink()),
        _weights(lambda path: path.write_bytes(b"")),
        _weights(lambda path: path.write_bytes(path.read_bytes()[:-1])),
    ],
)
def test_what_is_not_as_it_was_saved_is_refused(folder: Path, spoil: Callable[[Path], object]) -> None:
    spoil(folder)
    with pytest.raises(CorruptArtifact):
        load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"dimension": 7},
        {"dimension": 10**9},
        {"dimension": "6"},
        {"format": 2},
        {"architecture": "resnet18"},
        {"architecture": {"type": "gpt2"}},
        {"architecture": {"local": "somewhere"}},
        {"preprocessing": {"modality": "image", "rotate": True}},
        {"preprocessing": None},
        {"compatible_with": None},
        {"role": "side_information"},
        {"role": "other"},
    ],
    ids=str,
)
def test_a_card_that_says_what_cannot_be_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    """Its checksum is right: whoever wrote it made it so."""
    card = dataclasses.replace(load(folder).card, **changes) if "compatible_with" not in changes else None
    if card is None:
        _card(**changes)(folder)
    else:
        (folder / "card.json").write_text(card.to_json())
    with pytest.raises(CorruptArtifact):
        load(folder)


@pytest.mark.parametrize("name", ["../../outside", "", "0" * 63, "G" * 64])
def test_a_card_names_no_file_but_its_weights(folder: Path, name: str) -> None:
    (folder / "card.json").write_text(dataclasses.replace(load(folder).card, sha256=name).to_json())
    with pytest.raises(CorruptArtifact, match="card"):
        load(folder)


def test_weights_of_another_architecture_are_refused(folder: Path, tmp_path: Path) -> None:
    other = save(model("convnext"), tmp_path / "other")
    (folder / "card.json").write_text(dataclasses.replace(load(folder).card, sha256=other.sha256).to_json())
    (folder / artifact.weights_name(other)).write_bytes(
        (tmp_path / "other" / artifact.weights_name(other)).read_bytes()
    )
    with pytest.raises(CorruptArtifact, match="do not fit"):
        load(folder)


@pytest.mark.parametrize("family", ["resnet", "bert"])
def test_the_zip_file_holds_the_model_and_a_tokenizer_where_there_is_one(family: str, tmp_path: Path) -> None:
    card = save(model(family), tmp_path / "model")
    zipped(tmp_path / "model", tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert archive.testzip() is None
        names = {"card.json", artifact.weights_name(card)}
        assert set(archive.namelist()) == (names if family == "resnet" else names | {"tokenizer.json"})
        if family == "bert":
            assert tokenizers.Tokenizer.from_str(archive.read("tokenizer.json").decode()).encode("a cat").ids
    assert {path.name for path in tmp_path.iterdir()} == {"model", "model.zip"}


def _repacked(archive: Path, entry: str | None, compression: int) -> None:
    """Without an entry, or with everything compressed."""
    with zipfile.ZipFile(archive) as before:
        members = {name: before.read(name) for name in before.namelist()}
    with zipfile.ZipFile(archive, "w", compression) as after:
        for name, content in members.items():
            if entry is None or not name.startswith(entry):
                after.writestr(name, content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(b"no zip file"),
        lambda path: path.write_bytes(b""),
        lambda path: _repacked(path, "card", zipfile.ZIP_STORED),
        lambda path: _repacked(path, "weights", zipfile.ZIP_STORED),
        lambda path: _repacked(path, None, zipfile.ZIP_DEFLATED),
        lambda path: path.unlink(),
    ],
    ids=["torn", "text", "empty", "no card", "no weights", "compressed", "missing"],
)
def test_a_zip_file_that_is_no_model_is_refused(archive: Path, spoil: Callable[[Path], object]) -> None:
    spoil(archive)
    with pytest.raises(CorruptArtifact):
        load(archive)


def test_what_else_lies_in_a_zip_file_is_not_taken_out(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("../../escaped", b"x")
    load(archive)
    assert not list(tmp_path.parent.rglob("escaped"))
