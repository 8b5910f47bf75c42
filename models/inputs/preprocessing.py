"""How raw input becomes tensors: a model's property, kept with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import tokenizers

SMALL = 64
"""Images up to this many pixels are padded and cropped when augmented; larger ones are cropped at any scale."""

_SAMPLE = 1_000_000


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


def learn_tokenizer(texts: Sequence[str], vocabulary: int) -> str:
    """A WordPiece tokenizer of the texts (Schuster and Nakajima, ICASSP 2012), as BERT's; its JSON.

    Deterministic. Only the first million texts are read.
    """
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=special, show_progress=False, continuing_subword_prefix="##"
    )
    tokenizer.train_from_iterator((texts[place] for place in range(min(len(texts), _SAMPLE))), trainer)
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    return str(tokenizer.to_str())
