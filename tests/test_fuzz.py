"""Random damage to files of events and of settings: only errors of our own come out, and no row is lost."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.data.check import check_events
from limitlens.data.errors import ConfigError, InputError
from limitlens.data.events import EventStore
from limitlens.data.quality_settings import read_quality
from limitlens.data.world import read_world
from limitlens.limits.policy_file import read_policy
from limitlens.models.settings import read_settings
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import python
from tests.test_check import account, due, purchase

pytestmark = pytest.mark.slow

CONF = Path(__file__).parent.parent / "conf"

#: A delivery without a fault.
BOOK = {
    "accounts": pd.DataFrame([account(n, income=float(n)) for n in range(3)]),
    "consumption": pd.DataFrame([purchase(n, account_id=f"A{n % 3}", amount_cents=500 + n) for n in range(12)]),
    "payment": pd.DataFrame([due(event_id=f"D{n}", account_id=f"A{n % 3}") for n in range(8)]),
}

#: Where a damage strikes, as a share of the whole.
_PLACE = st.floats(0, 0.999)

_VALUES = st.sampled_from(
    [None, "", "x", "NULL", "-1", "1e400", "nan", "9" * 30, "\x00", "a,b", '"', "=1", "2026-13-45", "🙂", "true", "1.5"]
)

Damage = Callable[[bytes], bytes]


def _put(place: float, piece: bytes, over: int) -> Damage:
    def put(data: bytes) -> bytes:
        start = int(place * len(data))
        return data[:start] + piece + data[start + over :]

    return put


#: Bytes changed, put in or left out, or all of the end.
_BYTES = st.one_of(
    st.builds(_put, _PLACE, st.binary(min_size=1, max_size=3), st.integers(0, 3)),
    st.builds(_put, _PLACE, st.just(b""), st.sampled_from([1, 7, 10**9])),
)

_CELL = st.tuples(st.just("cell"), _PLACE, _PLACE, _VALUES)
_COLUMN = st.tuples(st.sampled_from(["drop", "rename", "text", "float", "null", "twice"]), _PLACE, _PLACE, _VALUES)
_ROWS = st.tuples(st.sampled_from(["repeat", "swap"]), _PLACE, _PLACE, _VALUES)


def damaged(table: pd.DataFrame, damage: tuple[str, float, float, Any]) -> pd.DataFrame:
    what, across, down, value = damage
    name = table.columns[int(across * len(table.columns))]
    row = int(down * len(table))
    match what:
        case "cell":
            changed = table[name].astype(object)
            changed.iloc[row] = value
            return table.assign(**{name: changed})
        case "drop":
            return table.drop(columns=name)
        case "rename":
            return table.rename(columns={name: f"{name}_{value}"})
        case "text":
            return table.assign(**{name: table[name].astype(str)})
        case "float":
            return table.assign(**{name: float("nan") if down < 0.5 else 0.5})
        case "null":
            return table.assign(**{name: None})
        case "twice":
            return pd.concat([table, table[[name]].rename(columns={name: name.upper()})], axis=1)
        case "repeat":
            return pd.concat([table, table.iloc[row:]])
        case _:
            return table[table.columns[::-1]]


def write(table: pd.DataFrame, folder: Path, ending: str, damages: list[Damage]) -> None:
    """A table as a file, its bytes damaged; what pandas cannot write as Parquet goes as text, as a feed would."""
    folder.mkdir(parents=True)
    path = folder / f"file.{ending}"
    if ending == "parquet":
        mixed = [name for name in table if len(set(map(type, table[name]))) > 1]
        table.astype(dict.fromkeys(mixed, str)).to_parquet(path)
    else:
        table.to_csv(path, index=False)
    data = path.read_bytes()
    for damage in damages:
        data = damage(data)
    path.write_bytes(data)


@settings(max_examples=40)
@given(
    source=st.sampled_from(list(BOOK)),
    ending=st.sampled_from(["csv", "parquet"]),
    tables=st.lists(_CELL | _COLUMN | _ROWS, max_size=3),
    data=st.lists(_BYTES, max_size=2),
)
def test_a_damaged_delivery_is_refused_in_one_line_or_every_row_is_accounted_for(
    source: str, ending: str, tables: list[tuple[str, float, float, Any]], data: list[Damage]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inbox, store = Path(folder, "in"), EventStore(Path(folder, "workspace"))
        struck = BOOK[source]
        for damage in tables:
            struck = damaged(struck, damage)
        write(struck, inbox / source, ending, data)
        for name in BOOK.keys() - {source}:
            write(BOOK[name], inbox / name, "parquet", [])
        try:
            report = check_events(inbox, store, max_quarantined_share=1)
        except InputError as refused:
            assert "\n" not in str(refused)
            assert not store.loads()
            return
        for count in report.sources.values():
            assert count.rows_in == count.accepted + count.quarantined + count.deduplicated
        if not data:
            assert report.sources[source].rows_in == len(struck)


_READERS = {"train": read_settings, "policy": read_policy, "quality": read_quality, "world": read_world}

_TOML_VALUES = st.sampled_from(["1e999", "-1", "[]", "{}", "'x'", "true", "nan", "1979-05-27", "9" * 5000, "[[", '"""'])


def _line(place: float, into: Callable[[str], list[str]]) -> Damage:
    """Something else for one line."""

    def change(data: bytes) -> bytes:
        lines = data.decode("utf-8", "replace").split("\n")
        number = int(place * len(lines))
        return "\n".join([*lines[:number], *into(lines[number]), *lines[number + 1 :]]).encode()

    return change


def _with_value(value: str) -> Callable[[str], list[str]]:
    return lambda line: [f"{line.partition('=')[0]}= {value}" if "=" in line else line]


#: A line twice, gone, or with another value.
_LINES = st.one_of(
    st.builds(_line, _PLACE, st.sampled_from([lambda line: [line, line], lambda line: []])),
    st.builds(_line, _PLACE, st.builds(_with_value, _TOML_VALUES)),
)


@pytest.mark.parametrize("kind", _READERS)
@settings(max_examples=60)
@given(damages=st.lists(_BYTES | _LINES, min_size=1, max_size=3))
def test_damaged_settings_are_read_or_refused_in_one_line_with_their_name(kind: str, damages: list[Damage]) -> None:
    data = (CONF / f"{kind}.toml").read_bytes()
    for damage in damages:
        data = damage(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "given.toml")
        path.write_bytes(data)
        try:
            _READERS[kind](path)
        except ConfigError as refused:
            assert str(refused).startswith(f"{path}")
            assert "\n" not in str(refused)


def test_damaged_files_of_a_workspace_and_beside_it_are_read_or_refused_in_one_line(small_workspace: Workspace) -> None:
    done = python("-m", "benchmarks.fuzz", str(small_workspace.root), "--cases", "110", "--seconds", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "IntegrityError" in done.stdout
