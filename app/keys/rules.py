"""Which scope each route needs: the whole table. A route that is not in it is refused where keys are in use.

Models are shared: every key may look them up, since a search needs their ids, and none that is bound to galleries may
change them. A gallery or dataset in a path is checked here, in front of the route; those in queries and bodies are
checked by the routes.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from starlette.routing import compile_path

from app.keys.access import EVERY_SCOPE, Access, KeyScope
from app.problems import Forbidden


@dataclass(frozen=True)
class Rule:
    """What one route needs. `template` is its path as FastAPI writes it once routed, with parameters in braces.

    one_of: the scopes of which any is enough; empty where no key is needed. shared: what it does concerns all
    galleries, so that keys bound to some are refused.
    """

    method: str
    template: str
    pattern: re.Pattern[str]
    one_of: frozenset[KeyScope]
    shared: bool = False

    @property
    def open(self) -> bool:
        return not self.one_of

    def require(self, access: Access, path: str) -> None:
        """Raises Forbidden unless the key may use this route, and sees the gallery or dataset in the path."""
        if not access.has_one_of(self.one_of):
            names = sorted(self.one_of)
            needed = " or ".join(f"`{name}`" for name in names)
            raise Forbidden(
                f"This key lacks the scope {needed}, which {self.method} {self.template} needs.",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{" ".join(names)}"'},
                needed=names,
            )
        if self.shared:
            access.require_unbound(f"{self.method} {self.template}")
        match = self.pattern.match(path)
        named = match.groupdict() if match else {}
        if "gallery" in named:
            access.require_gallery(named["gallery"])
        if "dataset" in named:
            access.require_dataset(named["dataset"])


class Rules:
    """The table, looked up by method and path, or by method and template."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._by_route = {(rule.method, rule.template): rule for rule in rules}
        self._by_first: dict[str, list[Rule]] = {}
        for rule in self._by_route.values():
            self._by_first.setdefault(_first(rule.template), []).append(rule)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._by_route.values())

    def of_route(self, method: str, template: str) -> Rule | None:
        return self._by_route.get((method, template))

    def of_request(self, method: str, path: str) -> Rule | None:
        """The rule of the route that answers this request; None where there is no rule."""
        if (rule := self._by_route.get((method, path))) is not None:  # where there is nothing in braces
            return rule
        return next((rule for rule in self._near(path) if rule.method == method and rule.pattern.match(path)), None)

    def know(self, path: str) -> bool:
        """Whether some method is ruled at the path, or at the one that a missing or surplus slash is redirected to."""
        other = path.rstrip("/") if path.endswith("/") else f"{path}/"
        return any(rule.pattern.match(path) or rule.pattern.match(other) for rule in self._near(path))

    def with_open(self, *routes: tuple[str, str]) -> "Rules":
        """The table with these routes, each a method and a template, needing no key."""
        none = frozenset[KeyScope]()
        return Rules(
            replace(rule, one_of=none, shared=False) if (rule.method, rule.template) in routes else rule
            for rule in self
        )

    def _near(self, path: str) -> list[Rule]:
        return self._by_first.get(_first(path), [])


def _first(path: str) -> str:
    return path[1:].partition("/")[0]


def _rules(one_of: Iterable[KeyScope], *routes: str, shared: bool = False) -> Iterator[Rule]:
    for route in routes:
        method, path = route.split(" ")
        pattern, template, _ = compile_path(path)
        yield Rule(method, template, pattern, frozenset(one_of), shared)


RULES = Rules(
    (
        *_rules(
            (),
            "GET /",
            "GET /healthz",
            "GET /readyz",
            "GET /docs",
            "GET /openapi.json",
            "GET /problems/{slug}",
            "GET /assets/swagger/{file:path}",
        ),
        *_rules((KeyScope.SEARCH,), "GET /search", "POST /search", "POST /v1/embeddings"),
        *_rules(
            EVERY_SCOPE,
            "GET /models",
            "GET /models/{model}",
            "GET /galleries",
            "GET /galleries/{gallery}",
            "GET /galleries/{gallery}/generations",
            "GET /galleries/{gallery}/items/{item:path}",
        ),
        *_rules(
            (KeyScope.WRITE,), "POST /models", "DELETE /models/{model}", "PUT /models/{model}/embedder", shared=True
        ),
        *_rules(
            (KeyScope.WRITE,),
            "POST /galleries",
            "DELETE /galleries/{gallery}",
            "PUT /galleries/{gallery}/items",
            "PATCH /galleries/{gallery}/items",
            "PATCH /galleries/{gallery}/items/{item:path}",
            "PUT /galleries/{gallery}/side-information",
            "POST /galleries/{gallery}/items/delete",
            "POST /datasets",
            "DELETE /datasets/{dataset}",
            "PUT /datasets/{dataset}/rows",
            "PUT /datasets/{dataset}/queries",
            "PUT /datasets/{dataset}/queries/judgements",
            "DELETE /datasets/{dataset}/queries",
        ),
        *_rules(
            (KeyScope.WRITE, KeyScope.UPGRADE),
            "GET /datasets",
            "GET /datasets/{dataset}",
            "GET /galleries/{gallery}/doctor",
            "GET /galleries/{gallery}/items",
        ),
        *_rules(
            (KeyScope.UPGRADE,),
            "POST /galleries/{gallery}/activate",
            "POST /galleries/{gallery}/follow",
            "DELETE /galleries/{gallery}/generations/{generation}",
            "GET /galleries/{gallery}/sample",
            "GET /galleries/{gallery}/backfill",
            "POST /galleries/{gallery}/backfill",
            "GET /galleries/{gallery}/backfills/{run}",
            "POST /galleries/{gallery}/backfills/{run}/cancel",
            "POST /models/{model}/upgrade",
            "GET /upgrades",
            "GET /upgrades/{upgrade}",
            "GET /upgrades/{upgrade}/events",
            "GET /upgrades/{upgrade}/report",
            "GET /upgrades/{upgrade}/rows",
            "GET /upgrades/{upgrade}/artifact",
            "GET /upgrades/{upgrade}/scores",
            "POST /upgrades/{upgrade}/activate",
            "POST /upgrades/{upgrade}/rollback",
            "POST /upgrades/{upgrade}/cancel",
            "DELETE /upgrades/{upgrade}",
            "POST /evaluations",
            "GET /evaluations",
            "GET /evaluations/{evaluation}",
            "DELETE /evaluations/{evaluation}",
        ),
        *_rules(
            (KeyScope.UPGRADE,),
            "GET /models/{model}/artifact",
            "POST /models/{model}/side-information",
            "GET /models/{model}/side-information",
            "POST /models/{model}/cancel",
            shared=True,
        ),
        *_rules(
            (KeyScope.ADMIN,),
            "GET /metrics",
            "POST /keys",
            "GET /keys",
            "GET /keys/{key}",
            "POST /keys/{key}/rotate",
            "DELETE /keys/{key}",
            shared=True,
        ),
    )
)
