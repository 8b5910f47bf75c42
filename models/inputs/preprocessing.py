"""How raw input becomes tensors: a model's property, kept with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

SMALL = 64
"""Images up to this many pixels are padded and cropped when augmented; larger ones are cropped at any scale."""

_SAMPLE = 1_000_000
_UNKNOWN, _CONTINUED = "[UNK]", "##"
_SPECIAL = ("[PAD]", _UNKNOWN, "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Preprocessing:
    """modality; image_size: pixels of a side; tokens: a text's at most; tokenizer: JSON as `tokenizers` writes it."""

    modality: Literal["image", "text"]
    image_size: int = 224
    tokens: int = 64
    tokenizer: str | None = None

    @classmethod
    def images(cls, size: int) -> Preprocessing:
        """Images brought to `size` × `size`: the short side scaled, the middle cut out."""
        return cls("image", image_size=size)

    @classmethod
    def texts(cls, tokenizer: str, tokens: int = 64) -> Preprocessing:
        """Texts cut into at most `tokens` tokens by a tokenizer (its JSON)."""
        return cls("text", tokens=tokens, tokenizer=tokenizer)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the tokenizer included."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preprocessing:
        """Raises TypeError for unknown keys."""
        return cls(**value)


@dataclass(frozen=True)
class Views:
    """Several views of every row in one batch, to be told from those of other rows.

    Of an image, each is a part of it of its own, whatever its size, from `least_area` of it upwards, mirrored half the
    time where `mirrored`; a text stands there as often, for dropout to tell its views apart.
    """

    count: int = 2
    least_area: float = 0.08
    mirrored: bool = True


def learn_tokenizer(texts: Sequence[str], vocabulary: int) -> str:
    """A WordPiece tokenizer of the texts (Schuster and Nakajima, ICASSP 2012), as BERT's; its JSON.

    Of at most `vocabulary` tokens, so that every id has a row in the model's table; deterministic. Only the first
    million texts are read. Raises ValueError where there is no room for a single letter beside the special tokens.
    """
    tokenizer = _tokenizer(models.WordPiece(unk_token=_UNKNOWN))
    read = range(min(len(texts), _SAMPLE))
    letters, pieces = _alphabet(tokenizer, (texts[place] for place in read), vocabulary // 2 - len(_SPECIAL))
    if not letters:
        raise ValueError(f"a vocabulary of {vocabulary} has no room for the letters of these texts")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        # The trainer numbers pieces as its hash map yields them, and breaks ties by number: so they are numbered here.
        special_tokens=[*_SPECIAL, *pieces],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
        continuing_subword_prefix=_CONTINUED,
    )
    tokenizer.train_from_iterator((texts[place] for place in read), trainer)
    learned = _tokenizer(models.WordPiece(tokenizer.get_vocab(with_added_tokens=False), unk_token=_UNKNOWN))
    learned.add_special_tokens(list(_SPECIAL))
    learned.decoder = decoders.WordPiece(prefix=_CONTINUED)
    learned.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, learned.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    return str(learned.to_str())


def _tokenizer(model: models.Model) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _alphabet(tokenizer: tokenizers.Tokenizer, texts: Iterable[str], room: int) -> tuple[list[str], list[str]]:
    """The commonest letters that there is room for, and the pieces they are: first in a word, or continuing one."""
    first, later = Counter[str](), Counter[str]()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            first[word[0]] += 1
            later.update(word[1:])
    letters: list[str] = []
    for letter, _ in sorted((first + later).items(), key=lambda each: (-each[1], each[0])):
        room -= (letter in first) + (letter in later)
        if room < 0:
            break
        letters.append(letter)
    letters.sort()
    continued = [_CONTINUED + letter for letter in letters if letter in later]
    return letters, [letter for letter in letters if letter in first] + continued
