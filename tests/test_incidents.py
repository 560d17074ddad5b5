"""Faults of a feed as a person meets them: files, `limitlens check`, its exit code and what it says."""

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from limitlens.pipeline.cli import app

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAYS, LINES = 120, 90
SEGMENTS = ("salaried", "student", "merchant")
Change = Callable[[pd.DataFrame], pd.DataFrame]


def feed(source: str, first: int, days: int) -> pd.DataFrame:
    """Rows of a quiet book: most lines buy and sign in on most days, and pay what is due three times a month."""
    kinds = {"consumption": ["purchase"], "payment": ["due", "repayment"], "device": ["login"]}[source]
    parts = []
    for day in range(first, first + days):
        luck = np.random.default_rng([day, len(source)])
        for kind in kinds:
            often = 0.8 if source != "payment" else 0.35
            lines = np.flatnonzero(luck.random(LINES) < often)
            known = T0 + timedelta(days=day) + pd.to_timedelta(luck.integers(7 * 60, 23 * 60 + 50, len(lines)), "min")
            parts.append(
                pd.DataFrame(
                    {
                        "event_id": [f"{kind}-{day}-{line}" for line in lines],
                        "account_id": [f"A{line:03d}" for line in lines],
                        "event_time": known - timedelta(minutes=5),
                        "known_time": known,
                        "kind": kind,
                        "amount_cents": np.round(np.exp(luck.normal(8, 0.7, len(lines)))).astype(int),
                        "channel": luck.choice(["pos", "online"], len(lines)),
                        "category": "food",
                        "instalment_id": None,
                        "device_id": [f"D{line}" for line in lines],
                        "city": luck.choice(["Ulm", "Bonn"], len(lines)),
                    }
                )
            )
    rows = pd.concat(parts, ignore_index=True)
    wanted = {"consumption": ["amount_cents", "channel", "category"], "payment": ["amount_cents", "instalment_id"]}
    return rows[[*rows.columns[:5], *wanted.get(source, ["device_id", "city"])]]


def deliver(folder: Path, first: int, days: int, *without: str, **changes: Change) -> Path:
    accounts = pd.DataFrame({"account_id": [f"A{n:03d}" for n in range(LINES)]})
    segments = [SEGMENTS[n % 3] for n in range(LINES)]
    accounts = accounts.assign(opened_at=T0, known_time=T0, limit_cents=100_000, segment=segments)
    tables = {"accounts": accounts}
    for source in ("consumption", "payment", "device"):
        if source not in without:
            tables[source] = changes.get(source, lambda rows: rows)(feed(source, first, days))
    for source, table in tables.items():
        (folder / source).mkdir(parents=True)
        table.to_csv(folder / source / "rows.csv", index=False)
    return folder


def check(folder: Path, work: Path, end: int, *options: str) -> Result:
    now = (T0 + timedelta(days=end)).isoformat()
    return CliRunner().invoke(app, ["check", str(folder), "-w", str(work), "--plain-ids", "--loaded-at", now, *options])


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that has taken in 120 days of a quiet book."""
    folder = tmp_path_factory.mktemp("history")
    first = check(deliver(folder / "in", 0, DAYS), folder / "work", DAYS)
    assert first.exit_code == 0, first.output
    return folder / "work"


@pytest.fixture
def work(history: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(history, tmp_path / "work"))


def after(tmp_path: Path, work: Path, days: int, *without: str, **changes: Change) -> Result:
    return check(deliver(tmp_path / "in", DAYS, days, *without, **changes), work, DAYS + days)


def test_a_usual_day_is_taken_in_without_a_word(tmp_path: Path, work: Path) -> None:
    told = after(tmp_path, work, 1)
    assert told.exit_code == 0
    assert "hold" not in told.output
    assert "warn:" not in told.output


def test_an_empty_file_on_a_weekday_is_an_incident(tmp_path: Path, work: Path) -> None:
    told = after(tmp_path, work, 1, payment=lambda rows: rows.iloc[:0])
    assert told.exit_code == 8
    assert "hold: payment: rows 0, expected 58" in told.output
    assert "since 2026-05-01, 1 day;" in told.output
    assert "90 lines touched" in told.output
    assert "see: limitlens quality --source payment" in told.output


def test_a_missing_file_is_an_incident(tmp_path: Path, work: Path) -> None:
    told = after(tmp_path, work, 2, "device")
    assert told.exit_code == 8
    assert "hold: device: rows 0, expected 1" in told.output
    assert "not delivered: device" in told.output


def test_amounts_a_hundredfold_are_an_incident(tmp_path: Path, work: Path) -> None:
    told = after(tmp_path, work, 1, consumption=lambda rows: rows.assign(amount_cents=100 * rows["amount_cents"]))
    assert told.exit_code == 8
    assert re.search(r"hold: consumption purchase: mean log amount 12\.\d, expected (8\.0|7\.9)", told.output)
    assert "since 2026-05-01, 1 day;" in told.output


def flipped(rows: pd.DataFrame) -> pd.DataFrame:
    sign = np.where(rows["kind"] == "repayment", -1, 1)
    return rows.assign(amount_cents=sign * rows["amount_cents"])


def test_flipped_repayments_are_refused_or_an_incident(tmp_path: Path, work: Path) -> None:
    folder = deliver(tmp_path / "in", DAYS, 1, payment=flipped)
    refused = check(folder, work, DAYS + 1)
    assert refused.exit_code != 0
    assert "most often amount_cents: below 0" in str(refused.exception)
    told = check(folder, work, DAYS + 1, "--max-quarantined-share", "1")
    assert told.exit_code == 8
    assert "hold: payment repayment: share quarantined 1, expected " in told.output


def test_a_fifth_of_nulls_in_a_column_is_an_incident(tmp_path: Path, work: Path) -> None:
    def emptied(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(channel=rows["channel"].where(np.arange(len(rows)) % 5 > 0))

    told = after(tmp_path, work, 2, consumption=emptied)
    assert told.exit_code == 8
    assert "hold: consumption purchase: share of nulls in channel 0.203, expected 0 " in told.output


def test_the_slice_that_is_struck_is_named(tmp_path: Path, work: Path) -> None:
    def struck(rows: pd.DataFrame) -> pd.DataFrame:
        student = rows["account_id"].str[1:].astype(int) % 3 == 1
        return rows[~student]

    told = after(tmp_path, work, 3, consumption=struck)
    assert told.exit_code == 8
    assert "hold: consumption, segment student: rows 0, expected 7" in told.output
    assert "30 lines touched" in told.output
    assert told.output.count("hold:") == 1


def test_json_has_the_incidents(tmp_path: Path, work: Path) -> None:
    folder = deliver(tmp_path / "in", DAYS, 1, payment=lambda rows: rows.iloc[:0])
    told = check(folder, work, DAYS + 1, "--json")
    assert told.exit_code == 8
    [incident] = json.loads(told.stdout)["incidents"]
    expected: dict[str, Any] = {"source": "payment", "figure": "rows", "state": "hold", "lines_touched": LINES}
    assert expected.items() <= incident.items()
    assert (incident["since"], incident["until"]) == ("2026-05-01T00:00:00+00:00", "2026-05-02T00:00:00+00:00")


@pytest.mark.slow
def test_a_first_load_is_not_alarmed_about_its_distant_past(tmp_path: Path) -> None:
    def gap(rows: pd.DataFrame) -> pd.DataFrame:
        day = (pd.to_datetime(rows["known_time"]) - T0).dt.days
        return rows[(day < 80) | (day >= 85)]

    told = check(deliver(tmp_path / "in", 0, DAYS, payment=gap), tmp_path / "work", DAYS)
    assert told.exit_code == 0, told.output


def test_a_load_without_profiles_is_no_past(tmp_path: Path, work: Path) -> None:
    mark = work / "loads" / "0001.json"
    body = json.loads(mark.read_text(encoding="utf-8"))
    body["files"] = {name: sha256 for name, sha256 in body["files"].items() if not name.startswith("profiles/")}
    mark.write_text(json.dumps(body), encoding="utf-8")
    assert after(tmp_path, work, 1, payment=lambda rows: rows.iloc[:0]).exit_code == 0


def test_settings_of_ones_own_are_followed(tmp_path: Path, work: Path) -> None:
    shipped = (Path(__file__).parent.parent / "conf" / "quality.toml").read_text(encoding="utf-8")
    own = tmp_path / "quality.toml"
    own.write_text(shipped.replace("least_past_days = 60", "least_past_days = 300"), encoding="utf-8")
    folder = deliver(tmp_path / "in", DAYS, 1, payment=lambda rows: rows.iloc[:0])
    assert check(folder, work, DAYS + 1, "--quality", str(own)).exit_code == 0


# The state at any time


def quality(work: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["quality", "-w", str(work), *options])


def test_quality_lists_the_states(history: Path) -> None:
    told = quality(history)
    assert told.exit_code == 0
    assert "judged 2026-04-17 to 2026-04-30: 0 hold" in told.output
    assert re.search(r"^ok +payment +all +last day 2026-04-30$", told.output, re.MULTILINE)


def test_a_source_that_did_not_come_is_seen_on_the_day_it_should_have(history: Path) -> None:
    told = quality(history, "--as-of", "2026-05-03", "--source", "device")
    assert told.exit_code == 8
    assert "hold: device: rows 0, expected 1" in told.output
    assert "since 2026-05-01, 2 days" in told.output


def test_quality_before_the_first_load_says_what_to_do(tmp_path: Path) -> None:
    told = quality(tmp_path)
    assert "no profiles of any source; run limitlens check INPUT." in str(told.exception)


@pytest.mark.slow
def test_the_page_escapes_what_came_and_speaks_two_languages(tmp_path: Path, work: Path) -> None:
    def odd(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(channel="<script>alert(1)</script>", amount_cents=100 * rows["amount_cents"])

    assert after(tmp_path, work, 2, consumption=odd).exit_code == 8
    page = tmp_path / "quality.html"
    told = quality(work, "--html", str(page))
    assert told.exit_code == 8
    assert f"page: {page}" in told.output
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "default-src 'none'" in text
    assert "涉及 90 个账户" in text
    assert text.count("<svg") >= 2


def test_json_of_quality_names_every_slice(history: Path) -> None:
    told = quality(history, "--json")
    states = json.loads(told.stdout)["states"]
    assert {"source": "device", "slice_column": "city", "slice_value": "Ulm", "state": "ok"}.items() <= max(
        states, key=lambda one: one["slice_value"] == "Ulm"
    ).items()
