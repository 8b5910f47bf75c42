"""What a key looks like, and what of it may be kept. What of it may be shown is in `app.redaction`.

A key is `cwk_<id>_<secret>`. The id is no secret: it finds the key in the database, and names it in lists and logs. Of
the whole key only the SHA-256 is stored. That is enough because the secret is 256 random bits: nobody can try them all,
however fast the hash. Slow hashes (bcrypt, Argon2) make up for passwords that people choose, and would cost every
request what they cost a thief.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass

from app.redaction import KEY_ID

_KEY = re.compile(rf"cwk_({KEY_ID})_[0-9a-f]{{64}}")


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
