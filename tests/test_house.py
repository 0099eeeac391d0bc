"""The house's own imports: nothing below imports from above, and no name stands for two things."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import resolver

HOUSE = Path(resolver.__file__).parent

# From the ground up. A room may import those of earlier rows, and its own; rooms of one row stand apart.
ROWS = [
    ["model", "bits", "console", "bootstrap", "descriptors", "extras", "spelling", "subprocesses", "daemons"],
    ["nameserver", "dns", "settings", "tallies", "blocks"],
    ["policy"],
    ["attempts", "input", "congestion"],
    ["output", "options", "host_words", "seam"],
    ["wire", "backends", "pages"],
    ["engines"],
    ["processes", "intake", "stages"],
    ["distributed", "lab", "batch"],
    ["planning"],
    ["api", "job", "lab_command", "config_command", "completion"],
    ["compare", "vetting"],
    ["commands"],
    ["__main__"],
]
ROW = {room: number for number, rooms in enumerate(ROWS) for room in rooms}


@cache
def parsed(path: Path) -> ast.Module:
    """A file as Python reads it."""
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, wherever the import stands."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.startswith("resolver"))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "resolver":
            yield from (f"{node.module}.{each.name}" for each in node.names)


def room(path: Path) -> str:
    """The room that a file stands in: its package, or itself."""
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def arrows() -> set[tuple[str, str]]:
    """Which room imports which."""
    found = set()
    for path in HOUSE.rglob("*.py"):
        if path.parent == HOUSE and path.name == "__init__.py":
            continue
        for module in imports(path):
            parts = module.split(".")
            if len(parts) > 1 and parts[1] in ROW and parts[1] != room(path):
                found.add((room(path), parts[1]))
    return found


def test_every_room_has_its_place() -> None:
    """Each file and package of the house stands in one row."""
    rooms = {room(path) for path in HOUSE.rglob("*.py")} - {"__init__"}
    assert sorted(ROW) == sorted(rooms)


def test_no_arrow_runs_up() -> None:
    """A room imports only what stands below it, so that there is no circle."""
    assert [] == sorted(f"{here} -> {there}" for here, there in arrows() if ROW[there] >= ROW[here])


def test_no_circle_inside_a_room() -> None:
    """No files import each other, neither to run nor for their types."""
    files = {".".join(path.relative_to(HOUSE.parent).with_suffix("").parts): path for path in HOUSE.rglob("*.py")}
    graph = {name: {module for each in imports(path) for module in (each, each.rpartition(".")[0]) if module in files}
             for name, path in files.items()}  # fmt: skip
    TopologicalSorter(graph).prepare()  # raises CycleError, which names them


def test_no_class_name_twice() -> None:
    """A class name stands for one thing in the whole package."""
    names = Counter(
        node.name for path in HOUSE.rglob("*.py") for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)
    )
    assert [] == sorted(name for name, times in names.items() if times > 1)


def test_no_test_knows_private_names() -> None:
    """What a test looks at has a public face."""
    found = []
    for path in Path(__file__).parent.glob("*.py"):
        tree = parsed(path)
        modules = {
            each.asname or each.name: f"{node.module}.{each.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("resolver")
            for each in node.names
        }
        found += [f"{path.name}: {name}" for name in modules.values() if "._" in name]
        found += [
            f"{path.name}: {modules[node.value.id]}.{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
            if node.attr.startswith("_") and not node.attr.startswith("__")
        ]
    assert [] == found


def test_docstrings_name_their_subject() -> None:
    """A docstring begins with a verb or a noun."""
    found = [
        f"{path.relative_to(HOUSE)}: {text}"
        for path in HOUSE.rglob("*.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (text := (ast.get_docstring(node) or "").partition("\n")[0])
        and text.split()[0] in ("So", "These", "What", "Who", "Of", "It")
    ]
    assert [] == found
