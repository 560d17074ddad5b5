"""The house: imports run one way, and each heavy library has one door."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("data", "features", "models", "limits", "pipeline")
#: Inside the pipeline, from what stands alone to what calls everything.
PIPELINE = (
    "pages",
    "workspace",
    "tracking",
    "holds",
    "journal",
    "check_delivery",
    "training",
    "deciding",
    "withdraw_load",
    "watching",
    "reviewing",
    "release",
    "stressing",
    "answers",
    "notices",
    "privacy",
    "sharing",
    "serving",
    "demo",
    "demo_watch",
    "cli",
)
DOORS = {
    "cryptography": "limits/keys.py",
    "duckdb": "data/engine.py",
    "fairlearn": "models/fairness.py",
    "mlflow": "pipeline/tracking.py",
    "numba": "models/compiled.py",
    "private_set_intersection": "data/psi.py",
    "prometheus_client": "pipeline/watching/metrics.py",
    "optuna": "pipeline/training/tune.py",
    "sqlite3": "limits/database.py",
    "typer": "pipeline/cli/",
    "sqlalchemy": "pipeline/tracking.py",
    "sqlglot": "features/compiler.py",
    "urllib3": "pipeline/watching/webhook.py",
}
FILES = sorted(path for room in ROOMS for path in (ROOT / room).glob("**/*.py"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imported(path: Path) -> frozenset[str]:
    found = set[str]()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_from_rooms_before_it(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    later = ROOMS[ROOMS.index(room) + 1 :]
    assert not [name for name in imported(path) if name.startswith(tuple(f"limitlens.{r}" for r in later))]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_inside_the_pipeline_imports_run_one_way_too(path: Path) -> None:
    room = path.relative_to(ROOT).with_suffix("").parts
    if room[0] != "pipeline" or room[1].startswith("__"):
        return
    assert room[1] in PIPELINE
    later = PIPELINE[PIPELINE.index(room[1]) + 1 :]
    assert not [name for name in imported(path) if name.startswith(tuple(f"limitlens.pipeline.{r}" for r in later))]


def test_no_file_is_in_a_circle() -> None:
    names = {f"limitlens.{path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')}": path for path in FILES}
    ahead = {name: imported(path) & set(names) for name, path in names.items()}
    while free := {name for name, others in ahead.items() if not others & set(ahead)}:
        ahead = {name: others for name, others in ahead.items() if name not in free}
    assert not ahead


@pytest.mark.parametrize("library", DOORS)
def test_a_heavy_library_has_one_door(library: str) -> None:
    users = [str(p.relative_to(ROOT)) for p in FILES if {n.split(".")[0] for n in imported(p)} & {library}]
    assert users
    assert all(user.startswith(DOORS[library]) for user in users)


def test_the_shap_library_judges_and_is_used_nowhere() -> None:
    """Its TreeSHAP of a LightGBM model is LightGBM's own; tests compare with what it computes itself."""
    assert not [p for p in FILES if "shap" in {n.split(".")[0] for n in imported(p)}]
    assert "import shap" in (ROOT / "tests" / "test_change.py").read_text(encoding="utf-8")


def test_nothing_below_the_command_line_reads_the_clock() -> None:
    readers = [str(p.relative_to(ROOT)) for p in FILES if "now(" in p.read_text(encoding="utf-8")]
    assert readers
    assert all(reader.startswith("pipeline/cli/") for reader in readers)


def test_nothing_is_unpickled_or_evaluated() -> None:
    banned = {"pickle", "joblib", "cloudpickle", "dill"}
    assert not [p for p in FILES if {n.split(".")[0] for n in imported(p)} & banned]
    calls = [n for p in FILES for n in nodes(p) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id in {"eval", "exec"}]


def test_every_package_is_listed_and_linked() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(ROOMS) <= set(listed["package-dir"].values())
    packages = {
        f"limitlens.{'.'.join(path.parent.relative_to(ROOT).parts)}" for path in FILES if path.stem == "__init__"
    }
    assert packages <= set(listed["packages"])
    links = ROOT / "typings" / "limitlens"  # of a checkout; a source archive has none
    assert not links.exists() or all((links / room).resolve() == ROOT / room for room in ROOMS)
