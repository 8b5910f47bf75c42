"""What the sender of a request may do, as routes see it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request

from app.problems import Forbidden

IN_SCOPE = "crosswalk.access"
"""The member of the ASGI scope that holds the `Access`."""


class KeyScope(StrEnum):
    """What a key is good for. `admin` may do everything that the others may."""

    SEARCH = "search"
    WRITE = "write"
    UPGRADE = "upgrade"
    ADMIN = "admin"


EVERY_SCOPE = frozenset(KeyScope)


@dataclass(frozen=True)
class Access:
    """The rights of one request's sender.

    key: the id of its key; None for whoever asks a service without keys on loopback. galleries, datasets: the only ones
    that the key sees, whether or not they exist; None where it is not bound, and sees them all.
    """

    key: str | None
    scopes: frozenset[KeyScope]
    galleries: frozenset[str] | None = None
    datasets: frozenset[str] | None = None

    @property
    def bound(self) -> bool:
        """Whether the key is bound to galleries."""
        return self.galleries is not None

    def has_one_of(self, scopes: Iterable[KeyScope]) -> bool:
        return KeyScope.ADMIN in self.scopes or not self.scopes.isdisjoint(scopes)

    def sees_gallery(self, gallery: str) -> bool:
        return self.galleries is None or gallery in self.galleries

    def sees_dataset(self, dataset: str) -> bool:
        return self.galleries is None or dataset in (self.datasets or ())

    def sees_upgrade_of(self, galleries: Iterable[str]) -> bool:
        """Whether the key sees an upgrade: it does where it sees every one of the upgrade's galleries."""
        return self.galleries is None or self.galleries.issuperset(galleries)

    def require_gallery(self, gallery: str) -> None:
        """Raises Forbidden for a gallery that the key does not see, the same whether or not there is one."""
        if not self.sees_gallery(gallery):
            raise Forbidden(f"This key is bound to other galleries than {gallery!r}.")

    def require_dataset(self, dataset: str) -> None:
        """Raises Forbidden for a dataset that the key does not see, the same whether or not there is one."""
        if not self.sees_dataset(dataset):
            raise Forbidden(f"This key is bound to other datasets than {dataset!r}.")

    def require_unbound(self, what: str) -> None:
        """Raises Forbidden for a key that is bound to galleries. what: what concerns other galleries too."""
        if self.bound:
            raise Forbidden(f"{what} concerns more galleries than those that this key is bound to.")


EVERYTHING = Access(key=None, scopes=EVERY_SCOPE)
"""On a service without keys, where only this machine is answered."""


async def _caller(request: Request) -> Access:  # async: a plain function is called in a thread
    access: Access = request.scope[IN_SCOPE]
    return access


Caller = Annotated[Access, Depends(_caller)]
"""The parameter by which a route receives what the request's sender may do."""
