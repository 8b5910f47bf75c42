"""What a key looks like, and what of it may be kept or shown.

A key is `cwk_<id>_<secret>`. The id is no secret: it finds the key in the database, and names it in lists and logs. Of
the whole key only the SHA-256 is stored. That is enough because the secret is 256 random bits: nobody can try them all,
however fast the hash. Slow hashes (bcrypt, Argon2) make up for passwords that people choose, and would cost every
request what they cost a thief.
"""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from urllib.parse import quote, unquote

ID_PATTERN = r"[0-9a-f]{12}"

_KEY = re.compile(rf"cwk_({ID_PATTERN})_[0-9a-f]{{64}}")
_SHOWN_BY_MISTAKE = re.compile(rf"(cwk_{ID_PATTERN})_[0-9a-f]+|\b([Bb]earer\s+)[^\s\"',}}]{{16,}}")
_KEY_WITHIN = re.compile(rf"cwk_{ID_PATTERN}_[0-9a-f]")
_TIMES_ENCODED = 4

_configured: set[str] = set()
"""The keys of this process's settings, which have no form to know them by; as they are, and as JSON writes them."""


@dataclass(frozen=True)
class NewSecret:
    """A key just made: `key` is shown once and never stored."""

    id: str
    key: str

    @property
    def hash(self) -> str:
        return hash_of(self.key)


def new_secret() -> NewSecret:
    """A key that nobody can guess."""
    key_id = secrets.token_hex(6)
    return NewSecret(key_id, f"cwk_{key_id}_{secrets.token_hex(32)}")


def hash_of(key: str) -> str:
    """The key's SHA-256 in hexadecimal digits. key: any text that a client may send."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def id_of(key: str) -> str | None:
    """The id in a key; None where it does not look like a key that was made here."""
    match = _KEY.fullmatch(key)
    return match[1] if match else None


def redacted(text: str) -> str:
    """The text, with the secret part of every key in it, the settings' key, and whatever follows `Bearer`, left out."""
    for secret in _configured:
        text = text.replace(secret, "[secret]")
    if "cwk_" not in text and "earer" not in text:
        return text
    return _SHOWN_BY_MISTAKE.sub(lambda match: f"{match[1]}_[secret]" if match[1] else f"{match[2]}[secret]", text)


def never_show(secret: str) -> None:
    """Has `redacted` leave out a key of the settings from now on, in this process."""
    _configured.update((secret, json.dumps(secret)[1:-1]))


def redacted_path(path: str) -> str:
    """The path of a URL as it is; where it holds a key, percent-encoded or not, without the secret of it."""
    for text in _decodings(path):
        if (shown := redacted(text)) != text:
            return quote(shown, safe="/[]")
    return path


def holds_key(part: str) -> bool:
    """Whether there is a key in a part of a URL, percent-encoded or not."""
    return any(_KEY_WITHIN.search(text) or any(secret in text for secret in _configured) for text in _decodings(part))


def _decodings(text: str) -> list[str]:
    """The text, and what it is once percent-decoded, and again, as proxies in a row may do."""
    found = [text]
    while "%" in found[-1] and len(found) <= _TIMES_ENCODED:
        found.append(unquote(found[-1]))
    return found
