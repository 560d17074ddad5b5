"""Break the code on purpose and see whether the tests notice: `python -m benchmarks.mutants [PART OF A PATH ...]`.

`mutants.toml` names each file, the tests that should notice, and mutants written by hand, most of them of SQL; those of
Python are cosmic-ray's, all of them or a random sample. A mutant is imported from memory, in a forked process that runs
the tests until one fails: no file is touched, and it costs seconds. Prints each survivor as a difference and a table;
exits with 1 if one survived that is not listed as equivalent. It needs `pip install cosmic-ray`; `--demo FOLDER` keeps
the demo that some tests ask for from one call to the next.
"""

import argparse
import ast
import difflib
import importlib
import importlib.util
import os
import random
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from hypothesis import Phase, settings

ROOT = Path(__file__).parent.parent

#: Loaded once, before the forks. Nothing of limitlens: each fork imports it with its mutant.
_HEAVY = (
    "duckdb", "fairlearn.metrics", "hypothesis.extra.numpy", "lightgbm", "mlflow.store.tracking.sqlalchemy_store",
    "pandas", "pyarrow.parquet", "scipy.optimize", "scipy.special", "scipy.stats", "shap", "sklearn.model_selection",
    "sklearn.utils.estimator_checks", "sqlglot", "typer.testing",
)  # fmt: skip

#: Replacements that break an expression outright, or cannot be seen: removing ``@cache`` changes no result.
_LEFT_OUT = ("_Pow", "_RShift", "_LShift", "_Mod", "_BitXor", "_Is", "_IsNot", "/RemoveDecorator")

#: What pytest says of the packages above.
_LOADED_BEFORE = "ignore::pytest.PytestAssertRewriteWarning"

#: A mutant that never ends is noticed too.
_SECONDS = 300


@dataclass(frozen=True)
class Subject:
    """A file to break, and what should notice.

    ``equivalent`` holds changed lines (or one left out) that no input can tell from what they were, and why.
    """

    file: str
    tests: tuple[str, ...]
    chosen: str = ""
    sample: int = 0
    by_hand: tuple[tuple[str, str], ...] = ()
    equivalent: tuple[tuple[str, str], ...] = ()


class _Mutant(SourceFileLoader, MetaPathFinder):
    """Finds and loads one module, from another text than its file has."""

    def __init__(self, file: str, text: str) -> None:
        super().__init__("limitlens." + file.removesuffix(".py").replace("/", "."), str(ROOT / file))
        self.text = text

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return (
            importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None
        )

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec")


class _Plugin:
    """Gives tests the demo that was made before, and takes a failing example as it is found."""

    def __init__(self, demo: Path) -> None:
        self.demo = demo

    def pytest_collection(self, session: pytest.Session) -> None:
        session.config.workerinput = {"limitlens_shared": str(self.demo)}  # type: ignore[attr-defined]
        settings.register_profile("mutants", settings.get_profile("limitlens"), phases=[Phase.explicit, Phase.generate])
        settings.load_profile("mutants")


def mutants(subject: Subject, source: str, seed: int) -> tuple[list[str], int]:
    """Texts of the mutants to try, those by hand first, and how many there are."""
    found = []
    for old, new in subject.by_hand:
        if source.count(old) != 1:
            raise SystemExit(
                f"{subject.file}: {source.count(old)} places hold {old!r}, expected one; mend mutants.toml"
            )
        found.append(source.replace(old, new))
    places = _places(source)
    chosen = random.Random(seed).sample(places, min(subject.sample, len(places)))
    made = [mutate_code(source, get_operator(name)(), number) for name, number in chosen]
    return found + made, len(found) + len(places)


def _places(source: str) -> list[tuple[str, int]]:
    """Operators of cosmic-ray, and the number of each place one can change."""
    tree, types, found = get_ast(source), _types(source), []
    for name in operator_names():
        operator = get_operator(name)
        if operator.arguments() or name.endswith(_LEFT_OUT):
            continue
        starts = [start for node in ast_nodes(tree) for start, _ in operator().mutation_positions(node)]
        found += [
            (name, number)
            for number, start in enumerate(starts)
            if not any(first <= start < last for first, last in types)
        ]
    return found


def _types(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations stand: nothing reads them when the code runs."""
    nodes = list(ast.walk(ast.parse(source)))
    found = [node.annotation for node in nodes if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation]
    found += [node.returns for node in nodes if isinstance(node, ast.FunctionDef) and node.returns]
    return [((one.lineno, one.col_offset), (one.end_lineno or 0, one.end_col_offset or 0)) for one in found]


def noticed(subject: Subject, text: str, demo: Path) -> bool:
    """Whether a test fails on that text, in a process of its own."""
    child = os.fork()
    if child == 0:
        signal.alarm(_SECONDS)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.meta_path.insert(0, _Mutant(subject.file, text))
        chosen = ["-k", subject.chosen] if subject.chosen else []
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", _LOADED_BEFORE, *chosen]
        os._exit(pytest.main([*options, *subject.tests], plugins=[_Plugin(demo)]) != 0)
    return os.waitpid(child, 0)[1] != 0


def difference(source: str, text: str) -> list[str]:
    """Changed lines, without those around them."""
    lines = difflib.unified_diff(source.splitlines(), text.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[:1] in "+-" and line[:3] not in {"+++", "---"}]


def try_all(subject: Subject, seed: int, demo: Path) -> Counter[str]:
    """Try the mutants of a file; each survivor is printed."""
    start, counts, source = time.monotonic(), Counter[str](), (ROOT / subject.file).read_text(encoding="utf-8")
    if noticed(subject, source, demo):
        raise SystemExit(f"{subject.file}: its tests fail as it is; mend that first")
    print(f"{subject.file}: {time.monotonic() - start:.1f} s for its tests", flush=True)
    tried, of = mutants(subject, source, seed)
    counts["of"] = of
    for text in tried:
        counts["tried"] += 1
        if noticed(subject, text, demo):
            counts["killed"] += 1
            continue
        changed = difference(source, text)
        new = {line[1:].strip() for line in changed if line.startswith("+")} or {line[1:].strip() for line in changed}
        verdict = "equivalent" if new & {line for line, _ in subject.equivalent} else "survived"
        counts[verdict] += 1
        print(f"{subject.file}: {verdict}", *changed, sep="\n  ", flush=True)
    print(f"{subject.file}: {dict(counts)}, {time.monotonic() - start:.0f} s", flush=True)
    return counts


def main() -> None:
    """Read the options, try the mutants, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="only files with one of these in their path")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--demo", type=Path, default=None)
    options = parser.parse_args()
    listed = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text(encoding="utf-8"))["files"]
    subjects = [Subject(**body) for body in listed]
    os.chdir(ROOT)
    sys.dont_write_bytecode = True
    os.environ |= {"LIMITLENS_THREADS": "1", "OMP_NUM_THREADS": "1"}
    sys.path.insert(0, str(ROOT))
    for name in _HEAVY:
        importlib.import_module(name)
    rows = []
    with tempfile.TemporaryDirectory() as made:
        for one in subjects:
            if not options.parts or any(part in one.file for part in options.parts):
                rows.append((one.file, try_all(one, options.seed, options.demo or Path(made))))
    print("| file | mutants | tried | killed | equivalent | survived |\n|---|---|---|---|---|---|")
    for file, counts in rows:
        print(
            "|", " | ".join([file, *(str(counts[k]) for k in ("of", "tried", "killed", "equivalent", "survived"))]), "|"
        )
    sys.exit(any(counts["survived"] for _, counts in rows))


if __name__ == "__main__":
    main()
