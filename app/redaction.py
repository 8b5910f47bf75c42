"""Keeps the secrets of API keys out of logs, answers and whatever else is shown, also where one was sent by mistake."""

import json
import re
from urllib.parse import quote, unquote

KEY_ID = r"[0-9a-f]{12}"
"""A key is `cwk_<id>_<secret>`: the pattern of its id, which is no secret."""

_SHOWN_BY_MISTAKE = re.compile(rf"(cwk_{KEY_ID})_[0-9a-f]+|\b([Bb]earer\s+)[^\s\"',}}]{{16,}}")
_KEY_WITHIN = re.compile(rf"cwk_{KEY_ID}_[0-9a-f]")
_TIMES_ENCODED = 4

_configured: set[str] = set()
"""The keys of this process's settings, which have no form to know them by; as they are, and as JSON writes them."""


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
