"""How raw input becomes tensors: settings that belong to a model and are saved with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

SMALL = 64
"""Images of a side up to this many pixels are augmented by padding and cropping, larger ones by random resized
crops."""

_SAMPLE = 1_000_000
_UNKNOWN, _CONTINUED = "[UNK]", "##"
_SPECIAL = ("[PAD]", _UNKNOWN, "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Preprocessing:
    """How a model's input is prepared. image_size: pixels per side; tokens: most tokens of a text; tokenizer: the JSON
    of the library `tokenizers`, None for images."""

    modality: Literal["image", "text"]
    image_size: int = 224
    tokens: int = 64
    tokenizer: str | None = None

    @classmethod
    def images(cls, size: int) -> Preprocessing:
        """Preprocessing of images: the centred square, resized to `size` × `size`."""
        return cls("image", image_size=size)

    @classmethod
    def texts(cls, tokenizer: str, tokens: int = 64) -> Preprocessing:
        """Preprocessing of texts: split by a tokenizer (its JSON) and truncated to `tokens` tokens."""
        return cls("text", tokens=tokens, tokenizer=tokenizer)

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values, with the tokenizer."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preprocessing:
        """Reads what `to_json` returned. Raises TypeError for unknown keys."""
        return cls(**value)


@dataclass(frozen=True)
class Views:
    """How to augment a batch into several views of every row, for contrastive training.

    A view of an image is a random crop of at least the share `least_area` of it, mirrored with a chance of one half
    where `mirrored`. The views of a text are repetitions of it, which only the network's dropout makes differ.
    """

    count: int = 2
    least_area: float = 0.08
    mirrored: bool = True


def learn_tokenizer(texts: Sequence[str], vocabulary: int) -> str:
    """Trains a WordPiece tokenizer (Schuster and Nakajima, ICASSP 2012) like BERT's on the texts; returns its JSON.

    It has at most `vocabulary` tokens, so that every id has a row in the model's embedding table. Deterministic. Only
    the first million texts are read. Raises ValueError where `vocabulary` has no room for a single letter.
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
    """The commonest letters, and the tokens they need: one at the start of a word, one inside words; at most `room`
    tokens."""
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
