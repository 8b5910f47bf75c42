"""A public name has one meaning: whoever searches for it finds one definition."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def classes(module: ast.Module) -> Iterator[str]:
    return (node.name for node in module.body if isinstance(node, ast.ClassDef))


def functions(module: ast.Module) -> Iterator[str]:
    return (node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def type_aliases(module: ast.Module) -> Iterator[str]:
    """Names in capitalised words that a module assigns, such as `Progress = Callable[[int, int], None]`."""
    for node in module.body:
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name) and not target.id.isupper() and target.id.lstrip("_")[:1].isupper():
                yield target.id


OF_THEIR_PACKAGES_ALONE = {"Id", "Url", "Kind"}
"""Type aliases that two packages of the service each have for themselves: a command's argument with its own help, and
the choices that a package accepts."""


def repeated(definitions: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """The public names that are defined in more than one place, with these places."""
    places: dict[str, list[str]] = defaultdict(list)
    for name, path in definitions:
        if not name.startswith("_"):
            places[name].append(path)
    return {name: paths for name, paths in places.items() if len(paths) > 1}


def test_a_public_class_is_defined_once() -> None:
    defined = ((name, path) for path, module in sources("app", "workers", "models") for name in classes(module))
    assert repeated(defined) == {}


def test_a_public_name_of_the_learning_core_is_defined_once() -> None:
    defined = (
        (name, path)
        for path, module in sources("models")
        for name in (*classes(module), *functions(module), *type_aliases(module))
    )
    assert repeated(defined) == {}


def test_a_type_alias_of_the_service_is_defined_once_but_for_a_few() -> None:
    defined = ((name, path) for path, module in sources("app", "workers") for name in type_aliases(module))
    assert repeated(defined).keys() <= OF_THEIR_PACKAGES_ALONE


def test_a_second_definition_is_noticed() -> None:
    module = ast.parse("class Pair: ...\nRows = list[int]\n_Own = list[str]\nFOLDS = 5\ndef fit(): ...")
    names = [*classes(module), *functions(module), *type_aliases(module)]
    assert repeated((name, path) for path in ("a.py", "b.py") for name in names) == {
        name: ["a.py", "b.py"] for name in ("Pair", "fit", "Rows")
    }
