"""Backbones: built as described, from configurations and from folders, and nothing else."""

import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from models.embedding_model import backbones
from models.embedding_model.backbones import CannotBuild, build, described
from models.portable import Architecture
from models.portable.architectures import IMAGE_TYPES, PRESETS, TEXT_TYPES
from tests.models.embedding_model.small_backbones import IMAGES, SETTINGS, TEXTS, probe, tiny


def saved(family: str, folder: Path) -> Any:
    """A model as its owner has it: published with the library, pooling layer included."""
    torch.manual_seed(1)
    model = AutoModel.from_config(AutoConfig.for_model(family, **SETTINGS[family]))  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    return model.eval()


def test_every_family_that_is_taken_is_tried() -> None:
    assert set(SETTINGS) == {*IMAGE_TYPES, *TEXT_TYPES}


@pytest.mark.parametrize("family", SETTINGS)
def test_every_family_gives_features_of_the_width_it_is_known_by(family: str) -> None:
    architecture = tiny(family)
    embedder = build(architecture).eval()
    features = embedder(probe(architecture))
    assert features.shape == (3, embedder.dimension)
    assert features.dtype == torch.float32
    assert architecture.width in (None, embedder.dimension)


@pytest.mark.parametrize("family", SETTINGS)
def test_every_weight_that_is_kept_learns(family: str) -> None:
    embedder = build(tiny(family), 6)
    embedder(probe(tiny(family))).square().sum().backward()
    idle = {name for name, weight in embedder.named_parameters() if weight.grad is None}
    assert {name for name in idle if "mask_token" not in name} == set()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_built(preset: str) -> None:
    architecture = Architecture.from_json(preset)
    with torch.device("meta"):
        embedder = build(architecture)
    assert embedder.dimension == architecture.width


def test_a_projection_is_there_only_where_it_is_needed() -> None:
    same, narrower = build(tiny("resnet"), 8), build(tiny("resnet"), 5)
    assert not list(same.projection.parameters())
    assert [tuple(weight.shape) for weight in narrower.projection.parameters()] == [(5, 8), (5,)]
    assert narrower.eval()(probe(tiny("resnet"))).shape == (3, 5)


def test_the_small_stem_keeps_full_resolution() -> None:
    small, usual = (build(tiny("resnet", **stem)).eval() for stem in ({"stem": "small"}, {}))
    shapes = []
    for embedder in (small, usual):
        stem: Any = embedder.backbone
        stem.model.embedder.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[2:])))
        embedder(probe(tiny("resnet"), side=8))
    assert shapes == [(8, 8), (2, 2)]


def test_pixels_are_normalised_inside() -> None:
    """Black and white are where published weights expect them: (0 − mean) / std and (1 − mean) / std of ImageNet."""
    inside: Any = build(tiny("resnet")).backbone
    both = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    pixels = inside.pixels({"pixels": both})[:, :, 0, 0].numpy()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(pixels, [-mean / std, (1 - mean) / std], rtol=1e-5)


@pytest.mark.parametrize("family", TEXTS)
def test_padding_a_text_changes_nothing_and_pooling_is_the_mean_or_the_first(family: str) -> None:
    architecture = tiny(family)
    embedder = build(architecture).eval()
    batch = probe(architecture)
    together = embedder(batch)
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        alone = {name: tensor[row : row + 1, :length] for name, tensor in batch.items()}
        inside: Any = embedder.backbone
        tokens = inside.model(**alone).last_hidden_state[0]
        torch.testing.assert_close(together[row], tokens.mean(0), rtol=1e-4, atol=1e-5)
    first = build(tiny(family, pooling="cls")).eval()
    first.load_state_dict(embedder.state_dict())
    torch.testing.assert_close(first(alone)[0], tokens[0], rtol=1e-4, atol=1e-5)


def test_the_same_seed_builds_the_same_weights() -> None:
    built = []
    for _ in range(2):
        torch.manual_seed(3)
        built.append(build(tiny("resnet"), 5).state_dict())
    assert all(torch.equal(built[0][name], built[1][name]) for name in built[0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_sizess": [4]}, "no settings hidden_sizess; it has depths"),
        ({"dtype": "float16"}, "no settings dtype"),
        ({"attn_implementation": "somebody/kernels"}, "no settings attn_implementation"),
        ({"auto_map": "module.Class"}, "no settings auto_map"),
        ({"hidden_act": "no such"}, "cannot be built"),
        ({"layer_type": "no such"}, "cannot be built"),
    ],
)
def test_settings_that_mean_nothing_to_a_family_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        build(Architecture.from_json({"type": "resnet", "config": IMAGES["resnet"] | config}))


def test_a_model_too_large_is_refused_before_it_takes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    count = sum(weight.numel() for weight in build(tiny("bert")).parameters())
    monkeypatch.setattr(backbones, "MOST_PARAMETERS", count)
    build(tiny("bert"))
    monkeypatch.setattr(backbones, "MOST_PARAMETERS", count - 1)
    with pytest.raises(CannotBuild, match=f"{count:,} parameters"):
        build(tiny("bert"))


def test_a_hundred_billion_parameters_are_refused_at_once() -> None:
    hostile = {"hidden_size": 16_384, "intermediate_size": 16_384, "num_hidden_layers": 100, "num_attention_heads": 64}
    with pytest.raises(CannotBuild, match="at most 4,000,000,000"):
        build(Architecture.from_json({"type": "bert", "config": hostile}))


@pytest.mark.parametrize("family", SETTINGS)
def test_a_local_folder_gives_its_own_weights_whatever_it_is_called(family: str, tmp_path: Path) -> None:
    theirs = saved(family, tmp_path / "bert-not")
    local = Architecture.from_json({"local": "bert-not", "modality": tiny(family).modality})
    embedder = build(local, backbones_dir=tmp_path)
    inside: Any = embedder.backbone
    weights = theirs.state_dict()
    for name, tensor in inside.model.state_dict().items():
        torch.testing.assert_close(tensor, weights[name])
    # Away from the folder, the description alone takes the weights back.
    again = build(described(local, embedder))
    again.load_state_dict(embedder.state_dict())
    batch = probe(tiny(family))
    assert torch.equal(again.eval()(batch), embedder.eval()(batch))


def test_local_weights_are_computed_in_float32(tmp_path: Path) -> None:
    saved("bert", tmp_path / "source").half().save_pretrained(tmp_path / "half")
    embedder = build(Architecture.from_json({"local": "half", "modality": "text"}), backbones_dir=tmp_path)
    assert {weight.dtype for weight in embedder.parameters()} == {torch.float32}


def test_local_weights_that_would_be_unpickled_are_refused(tmp_path: Path) -> None:
    model = saved("resnet", tmp_path / "encoder")
    (tmp_path / "encoder" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "encoder" / "pytorch_model.bin")
    with pytest.raises(CannotBuild, match="'encoder' cannot be read"):
        build(Architecture.from_json({"local": "encoder"}), backbones_dir=tmp_path)


def test_a_local_folder_without_some_weights_is_refused(tmp_path: Path) -> None:
    """They would be random otherwise, and nobody would know."""
    from safetensors.torch import load_file, save_file

    saved("resnet", tmp_path / "encoder")
    path = tmp_path / "encoder" / "model.safetensors"
    weights = load_file(path)
    lost = sorted(weights)[0]
    save_file({name: tensor for name, tensor in weights.items() if name != lost}, path, metadata={"format": "pt"})
    with pytest.raises(CannotBuild, match="has no weights for"):
        build(Architecture.from_json({"local": "encoder"}), backbones_dir=tmp_path)


@pytest.mark.parametrize("left_out", ["model.safetensors", "config.json"])
def test_a_local_folder_that_is_not_whole_opens_no_socket(
    left_out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved("bert", tmp_path / "encoder")
    (tmp_path / "encoder" / left_out).unlink()
    asked: list[object] = []

    def refused(*given: object, **_: object) -> None:
        asked.append(given)
        raise OSError("no socket is to be opened")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    with pytest.raises(CannotBuild, match=r"cannot be read|is expected"):
        build(Architecture.from_json({"local": "encoder", "modality": "text"}), backbones_dir=tmp_path)
    assert asked == []


def test_code_in_a_local_folder_is_not_run(tmp_path: Path) -> None:
    saved("resnet", tmp_path / "encoder")
    config = tmp_path / "encoder" / "config.json"
    ran = tmp_path / "ran"
    (tmp_path / "encoder" / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    mapped = '{"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}, "model_type": "evil",'
    config.write_text(
        mapped + config.read_text().lstrip()[1:].replace('"model_type": "resnet"', '"model_type": "evil"')
    )
    with pytest.raises(CannotBuild):
        build(Architecture.from_json({"local": "encoder"}), backbones_dir=tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize("folder_exists", [False, True])
def test_a_local_model_that_is_not_there_is_named(folder_exists: bool, tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match="no model 'encoder'"):
        build(Architecture.from_json({"local": "encoder"}), backbones_dir=tmp_path if folder_exists else None)


def test_texts_are_not_embedded_by_a_local_model_of_images(tmp_path: Path) -> None:
    saved("resnet", tmp_path / "encoder")
    local = Architecture.from_json({"local": "encoder", "modality": "text"})
    with pytest.raises(CannotBuild, match="embeds images, not texts"):
        described(local, build(local, backbones_dir=tmp_path))


def test_without_timm_its_models_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(CannotBuild, match=r"install crosswalk\[timm\]"):
        build(Architecture.from_json({"timm": "resnet18"}))
