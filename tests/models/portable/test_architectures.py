"""An architecture comes over HTTP: what it says is kept, and what it may not say is refused by name."""

import json
import subprocess
import sys
from typing import Any

import pytest

from models.portable import Architecture
from models.portable.architectures import IMAGE_TYPES, MOST_LAYERS, MOST_WIDTH, PRESETS, TEXT_TYPES
from tests.waiting import PATIENCE_SECONDS

BERT: dict[str, Any] = {"type": "bert", "config": {"hidden_size": 8, "num_hidden_layers": 1}}


@pytest.mark.parametrize(
    "value",
    [
        *PRESETS,
        BERT,
        BERT | {"pooling": "cls"},
        {"type": "resnet", "stem": "small", "config": {"hidden_sizes": [4, 8], "depths": [1, 1]}},
        {"type": "vit"},
        {"local": "my-encoder_v1.2"},
        {"local": "my-encoder", "modality": "text", "pooling": "mean"},
        {"timm": "resnet18.a1_in1k"},
    ],
    ids=json.dumps,
)
def test_what_is_read_is_written_so_that_it_reads_the_same(value: object) -> None:
    read = Architecture.from_json(value)
    assert Architecture.from_json(json.loads(json.dumps(read.to_json()))) == read


def test_the_order_of_settings_says_nothing() -> None:
    turned = {"config": dict(reversed(BERT["config"].items())), "type": "bert"}
    assert hash(Architecture.from_json(BERT)) == hash(Architecture.from_json(turned))
    assert Architecture.from_json(BERT) == Architecture.from_json(turned)


@pytest.mark.parametrize(
    ("value", "width", "modality"),
    [
        ("resnet18", 512, "image"),
        ("resnet34", 512, "image"),
        ("resnet50", 2048, "image"),
        ("small-resnet", 128, "image"),
        ("small-bert", 256, "text"),
        ({"type": "distilbert", "config": {"dim": 24}}, 24, "text"),
        ({"type": "swin"}, None, "image"),
        ({"local": "encoder"}, None, "image"),
    ],
)
def test_width_and_modality_are_known_without_building(value: object, width: int | None, modality: str) -> None:
    architecture = Architecture.from_json(value)
    assert (architecture.width, architecture.modality) == (width, modality)


def test_every_type_is_of_one_modality() -> None:
    for types, modality in ((IMAGE_TYPES, "image"), (TEXT_TYPES, "text")):
        assert {Architecture.from_json({"type": each}).modality for each in types} == {modality}


@pytest.mark.parametrize(
    "name", ["..", "../up", "a/b", "a\\b", "/etc", "", ".hidden", "a..b", "x" * 129, "a\n", 7, None]
)
@pytest.mark.parametrize("source", ["local", "timm"])
def test_a_name_that_could_leave_its_folder_is_refused(source: str, name: object) -> None:
    with pytest.raises(ValueError, match="plain name"):
        Architecture.from_json({source: name})


def test_no_hub_is_named_through_timm() -> None:
    with pytest.raises(ValueError, match="plain name"):
        Architecture.from_json({"timm": "hf-hub:somebody/something"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("resnet51", "small-resnet"),
        (["resnet18"], "preset"),
        ({"type": "gpt2"}, "known are resnet"),
        ({"config": {}}, "unknown type None"),
        ({"type": "bert", "heads": 2, "hub": "x"}, "heads, hub; known are config, pooling, projection, stem, type"),
        ({"local": "x", "trust_remote_code": True}, "unknown keys trust_remote_code"),
        ({"type": "bert", "config": [8]}, "`config` is an object"),
        ({"type": "bert", "pooling": "max"}, "'mean' or 'cls'"),
        ({"type": "resnet", "pooling": "mean"}, "text models alone"),
        ({"type": "resnet", "stem": "tiny"}, "'small'"),
        ({"type": "vit", "stem": "small"}, '"resnet" alone'),
        ({"local": "x", "modality": "sound"}, "'image' or 'text'"),
        ({"type": "bert", "config": {"quantization": {"bits": 4}}}, "config.quantization"),
        ({"type": "bert", "config": {"auto_map": [["x"]]}}, "config.auto_map"),
        ({"type": "bert", "config": {"x": None}}, "config.x"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(value: object, message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the text is compared below
        Architecture.from_json(value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_size": MOST_WIDTH + 1},
        {"hidden_size": 0},
        {"hidden_size": -8},
        {"hidden_size": True},
        {"hidden_size": 8.5},
        {"intermediate_size": 10**12},
        {"num_hidden_layers": MOST_LAYERS + 1},
        {"vocab_size": 10**7},
        {"layer_norm_eps": float("nan")},
        {"layer_norm_eps": float("inf")},
        {"hidden_sizes": [4, 10**9]},
        {"hidden_sizes": []},
        {"hidden_sizes": 4},
        {"hidden_sizes": ["4"]},
        {"depths": [MOST_LAYERS + 1]},
        {"depths": [0]},
        {"hidden_sizes": [4, 8], "depths": [1]},
    ],
    ids=str,
)
def test_a_size_that_could_take_the_machine_or_means_nothing_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="config"):
        Architecture.from_json({"type": "resnet", "config": config})


def test_reading_an_architecture_imports_neither_torch_nor_transformers() -> None:
    program = (
        "import sys; from models.portable import Architecture; Architecture.from_json('resnet50');"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE_SECONDS)
