"""What every command shares: the application, options, progress on the error stream."""

import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import LazyLoader, find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from limitlens.data.calendar import parse_time
from limitlens.data.errors import ConfigError
from limitlens.data.lock import expect_workspace, waiting
from limitlens.data.progress import Part
from limitlens.data.resources import THREADS

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from limitlens.data.pseudonyms import IdKey
    from limitlens.data.quality_settings import QualitySettings
    from limitlens.limits.policy import Policy
    from limitlens.models.settings import TrainSettings
    from limitlens.pipeline.workspace import Workspace

app = typer.Typer(
    help="Credit limits whose every change is split, to the cent, into behaviour, data, model, policy and time.",
    epilog="Exit codes: 0 done, 1 a step is missing, 2 wrong options, 3 a release was refused, 4 input was refused, "
    "5 another run is in progress, 6 a record is damaged, 7 nothing to do, "
    "8 what came is unusual, 9 a figure of the monitoring is an alarm.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

#: With which a command ends that found nothing to do; the others stand in :mod:`limitlens.data.errors`.
NOTHING_TO_DO = 7

#: With which ``check`` ends when what came is unusual enough to hold decisions.
INCIDENT = 8

#: With which ``monitor`` ends when a figure of the last month is an alarm.
ALARM = 9


#: Variable with the permissions that files and folders do not get.
UMASK = "LIMITLENS_UMASK"


def _version(asked: bool) -> None:
    if asked:
        import limitlens

        typer.echo(f"limitlens {limitlens.__version__}")
        raise typer.Exit


@app.callback()
def limitlens_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options that come before any command; what any of them writes is its owner's alone."""
    mask = os.environ.get(UMASK, "077")
    if not (mask.isdigit() and set(mask) <= set("01234567") and len(mask) <= 4):
        raise ConfigError(f"{UMASK} is {mask!r}; expected three octal digits such as 077 or 027.")
    os.umask(int(mask, 8))


#: Columns of text in which no table of ours is measured too small.
_WIDEST = 10_000

#: Without markup: paths, ids and names of sections may hold brackets.
stdout, stderr = Console(markup=False), Console(stderr=True, markup=False)


def moment(text: str) -> datetime:
    """A date or time given as an option."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date or time; expected 2026-03-01 or 2026-03-01T10:30.") from error


def _there(context: typer.Context, folder: Path) -> Path:
    """Refuse a folder without a workspace before anything is read or written."""
    if not context.resilient_parsing:
        expect_workspace(folder)
    return folder


def _there_if_named(context: typer.Context, folder: Path) -> Path:
    source = context.get_parameter_source("workspace")
    return folder if source and source.name == "DEFAULT" else _there(context, folder)


_WORKSPACE = "Folder that holds everything of a project."

WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", callback=_there, help=_WORKSPACE)]

#: Of a command that has an answer where no workspace has been begun.
AnyWorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", callback=_there_if_named, help=_WORKSPACE)]

#: Of the command that begins one.
NewWorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help=_WORKSPACE)]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
LangOption = Annotated[Literal["en", "zh"], typer.Option(help="Language of the page.")]
UntilOption = Annotated[datetime | None, typer.Option(parser=moment, help="Use only what was known before this time.")]
PolicyOption = Annotated[Path | None, typer.Option(help="Policy file; default: the one that was released.")]
ConfigOption = Annotated[Path | None, typer.Option(help="Training settings; default: those that ship with limitlens.")]
WithoutOption = Annotated[
    Literal["sensitive"] | None, typer.Option(help="Use no feature that is made of what the contract calls so.")
]
QualityOption = Annotated[
    Path | None, typer.Option(help="What is judged, and how (TOML); default: conf/quality.toml as it ships.")
]
IdKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--id-key",
        envvar="LIMITLENS_ID_KEY",
        help="File with the key of the ids' pseudonyms; default: WORKSPACE.ids.key, beside the workspace.",
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
SignKeyOption = Annotated[
    Path | None, typer.Option(help="Private key of whoever orders it: the record is signed. limitlens ledger new-key")
]


def _threads(count: int | None) -> int | None:
    """Everything that computes reads it there, processes of its own included."""
    if count:
        os.environ[THREADS] = str(count)
    return count


ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        envvar=THREADS,
        callback=_threads,
        help="Threads for training, scoring and queries; default: the CPUs this process may use.",
    ),
]
MemoryOption = Annotated[str, typer.Option(help="Queries spill to disk above it, those of all processes together.")]
ProcessesOption = Annotated[
    int, typer.Option(min=1, help="Processes that share the lines; each takes 1 to 2 GB and a share of the threads.")
]
EngineOption = Annotated[
    Literal["duckdb", "spark"],
    typer.Option(help="What does the work: duckdb on this machine, spark on its executors."),
]
LakeOption = Annotated[
    str | None,
    typer.Option(help="Folder as Spark names it: copies of the events are read there, results wait there."),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for a run in progress instead of giving up.")]

DEFAULT_WORKSPACE = Path("limitlens-work")


def expect_spark(engine: str, lake: str | None) -> None:
    """Refuse a lake without the engine that reads it."""
    if lake and engine != "spark":
        raise typer.BadParameter("only Spark keeps results in a lake: add --engine spark, or leave out --lake.")


def cents(text: str) -> int:
    """An amount given as an option, such as 20000.00."""
    try:
        amount = Decimal(text) * 100
    except InvalidOperation:
        amount = Decimal("nan")
    if not (amount.is_finite() and amount == amount.to_integral_value() and abs(amount) < 1 << 63):
        raise typer.BadParameter(f"{text!r} is not an amount; expected one such as 20000.00.")
    return int(amount)


def patient(wait: bool) -> AbstractContextManager[None]:
    """In this block a workspace that is held is waited for, if asked to."""
    return waiting(progress) if wait else nullcontext()


class ProgressLines:
    """Lines on the error stream; at a terminal, what can say how far it has come is a bar."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def __call__(self, text: str) -> None:
        """Tell what is being done and, where that is known, how long the rest will take."""
        if not isinstance(text, Part):
            self.end()
            self._line(text)
            return
        bar = self._bar = self._bar or self._begun()
        if not bar.tasks:
            bar.add_task(text)
        [task] = bar.tasks
        bar.update(task.id, description=text, completed=text.done, total=text.whole)
        if text.done >= text.whole:
            self.end()
            self._line(text)
        elif not stderr.is_terminal:
            left = "" if task.time_remaining is None else f", about {timedelta(seconds=task.time_remaining)} left"
            self._line(f"{text}, {text.done / text.whole:.0%}{left}")

    def end(self) -> None:
        """Take the bar away, if there is one."""
        if self._bar:
            self._bar.stop()
        self._bar = None

    def _begun(self) -> "Progress":
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal)
        bar.start()
        return bar

    def _line(self, text: str) -> None:
        stderr.print(Text.assemble((f"{datetime.now(UTC):%H:%M:%S}", "dim"), "  ", text), soft_wrap=True)


progress = ProgressLines()


def predict_only() -> None:
    """Have LightGBM loaded once a prediction needs it, and without scikit-learn.

    It loads scikit-learn where it finds it, a second of a processor, for estimators that only training needs.
    """
    spec = find_spec("lightgbm")
    if spec and spec.loader and not {"lightgbm", "sklearn"} & set(sys.modules):
        spec.loader = LazyLoader(_WithoutSklearn(spec.loader))
        module = sys.modules["lightgbm"] = module_from_spec(spec)
        spec.loader.exec_module(module)


class _WithoutSklearn(Loader):
    """Loads a module that takes scikit-learn for not installed."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        sys.modules["sklearn"] = None  # type: ignore[assignment]  # what import takes for "not installed"
        try:
            self._loader.exec_module(module)
        finally:
            del sys.modules["sklearn"]


def settings_in(config: Path | None, without: str | None = None) -> "TrainSettings":
    """Training settings of a file, or those that ship; and what is left out beside them."""
    if config:
        from limitlens.models.settings import read_settings

        settings = read_settings(config)
    else:
        from limitlens.pipeline.workspace import default_settings

        settings = default_settings()
    return replace(settings, without=(without,)) if without else settings


def quality_in(path: Path | None) -> "QualitySettings":
    """Settings of the judgement on incoming data, of a file or those that ship."""
    from limitlens.data.quality_settings import default_quality, read_quality

    return read_quality(path) if path else default_quality()


def pem(path: Path | None) -> bytes | None:
    """The private key of a file, if one is given."""
    from limitlens.data.toml_reader import read_small

    return read_small(path, "a private key").encode() if path else None


def key_for(space: "Workspace", given: Path | None) -> "IdKey | None":
    """Key by which ids that come in become pseudonyms; None: the ids of the workspace are as delivered.

    Raises
    ------
    ConfigError
        The key is not at hand, or a file was given and the ids are as delivered.
    """
    from limitlens.data.events import PLAIN
    from limitlens.data.id_key import default_key_path, read_key

    if given is None and space.events.ids() in (None, PLAIN):
        return None
    return read_key(given or default_key_path(space.root), space.root)


def account_in(space: "Workspace", account: str, given: Path | None) -> str:
    """An account as the workspace calls it, named by the id that was delivered or by its pseudonym.

    Raises
    ------
    ConfigError
        The id was named, and the key that would find its pseudonym is not at hand.
    """
    from limitlens.data.events import PLAIN
    from limitlens.data.id_key import default_key_path, expect_ids
    from limitlens.data.pseudonyms import is_pseudonym

    if space.events.ids() in (None, PLAIN) or is_pseudonym(account):
        return account
    if not (given or default_key_path(space.root)).exists():
        raise ConfigError(
            f"no such account: {account}. The ids of {space.root} are pseudonyms, and their key is not at hand: give "
            "the pseudonym, or name the file of the key by --id-key."
        )
    key = key_for(space, given)
    expect_ids(space.events, key)
    return key.pseudonym("account", account) if key else account


def policy_in(path: Path | None) -> "Policy | None":
    """The policy of a file, if one is given."""
    from limitlens.limits.policy_file import read_policy

    return read_policy(path) if path else None


def print_table(table: "Table", *prose: str) -> None:
    """Print a table whole at any width: a name or a number stands on one line, only the columns of ``prose`` wrap.

    A table wider than the terminal runs over its edge; nothing of it is cut.
    """
    from rich.cells import cell_len
    from rich.measure import Measurement

    for column in table.columns:
        column.overflow = "fold"
        if column.header not in prose:
            column.min_width = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
    needed = Measurement.get(stdout, stdout.options.update_width(_WIDEST), table).minimum
    table.width = needed if needed > stdout.width else None
    stdout.print(table, crop=False)


def print_json(body: Any) -> None:
    """JSON for programs."""
    typer.echo(json.dumps(body, indent=1, ensure_ascii=False, default=str))


def page_name(name: str, lang: str) -> str:
    """The file of a page in a workspace, by its language.

    Examples
    --------
    >>> page_name("report", "en"), page_name("report", "zh")
    ('report.html', 'report.zh-CN.html')
    """
    return f"{name}.html" if lang == "en" else f"{name}.zh-CN.html"
