"""How input is prepared is kept with a model; a tokenizer is learned from texts, the same one every time."""

import json
import os
import random
import subprocess
import sys

import pytest
import tokenizers

from models.inputs import Preprocessing, learn_tokenizer

_rng = random.Random(0)
WORDS = ["".join(_rng.choices("abcdefghij", k=_rng.randint(2, 7))) for _ in range(120)]
TEXTS = [" ".join(_rng.choices(WORDS, k=8)) for _ in range(60)]
RARE = "thankethenbahkat" * 3
IDEOGRAPHS = ["".join(chr(0x4E00 + 7 * row + place) for place in range(7)) for row in range(100)]


def tokenizer(texts: list[str], vocabulary: int) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(learn_tokenizer(texts, vocabulary))


@pytest.mark.parametrize(
    "how",
    [Preprocessing.images(32), Preprocessing.texts(learn_tokenizer(TEXTS, 100), tokens=12)],
    ids=["image", "text"],
)
def test_preprocessing_is_plain_json(how: Preprocessing) -> None:
    assert Preprocessing.from_json(json.loads(json.dumps(how.to_json()))) == how


def test_unknown_preprocessing_is_refused() -> None:
    with pytest.raises(TypeError):
        Preprocessing.from_json({"modality": "image", "rotate": True})


def test_every_process_learns_the_same_tokenizer() -> None:
    """Ties among pieces are many here, and hash maps are seeded anew in each process."""
    program = f"from models.inputs import learn_tokenizer; print(learn_tokenizer({TEXTS!r}, 150))"
    for threads in ("1", "4"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"RAYON_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.rstrip("\n") == learn_tokenizer(TEXTS, 150)


@pytest.mark.parametrize("vocabulary", [14, 40, 100, 400])
@pytest.mark.parametrize("texts", [TEXTS, IDEOGRAPHS, [*TEXTS, *IDEOGRAPHS]], ids=["words", "ideographs", "both"])
def test_every_id_is_below_the_vocabulary_asked_for(texts: list[str], vocabulary: int) -> None:
    learned = tokenizer(texts, vocabulary)
    assert learned.get_vocab_size() <= vocabulary
    assert max(max(each.ids) for each in learned.encode_batch(texts)) < vocabulary
    assert sorted(learned.get_vocab().values()) == list(range(learned.get_vocab_size()))


def test_common_words_are_whole_and_rare_ones_in_pieces() -> None:
    learned = tokenizer(["the bank"] * 50 + [RARE], 30)
    assert learned.encode("The BANK, the").tokens == ["[CLS]", "the", "bank", "[UNK]", "the", "[SEP]"]
    pieces = learned.encode(RARE).tokens[1:-1]
    assert len(pieces) > 1
    assert "".join(piece.removeprefix("##") for piece in pieces) == RARE


def test_letters_never_seen_are_unknown_and_nothing_more() -> None:
    learned = tokenizer(TEXTS, 150)
    assert learned.encode("Ω a").tokens == ["[CLS]", "[UNK]", "a", "[SEP]"]
    assert learned.encode("").tokens == ["[CLS]", "[SEP]"]


@pytest.mark.parametrize(("texts", "vocabulary"), [(TEXTS, 12), (TEXTS, 0), ([], 100), (["", " "], 100)])
def test_without_room_or_letters_there_is_no_tokenizer(texts: list[str], vocabulary: int) -> None:
    with pytest.raises(ValueError, match="no room"):
        learn_tokenizer(texts, vocabulary)
