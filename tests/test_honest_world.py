"""The honest world: causes with innocent twins, a state that makes customers pay or not, and answers to the lender."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from limitlens.data.errors import ConfigError, InputError
from limitlens.data.world import named_world, read_decisions, read_world, simulate
from limitlens.data.world.chance import Chance
from limitlens.data.world.fortune import birth, live, pay
from limitlens.data.world.people import draw_people
from limitlens.data.world.scene import Month, Scene
from limitlens.data.world.settings import CAUSES, TRAPS
from limitlens.pipeline.cli import app
from tests.conftest import MadeOnce
from tests.test_imports import ROOT
from tests.test_world import SOURCES, digests, rows_of

pytestmark = pytest.mark.slow

DAY = pd.Timedelta(days=1)
LINES, MONTHS = 3_000, 6
APRIL = pd.Timestamp("2025-04-01", tz="UTC")
WORLD = named_world("honest")


@pytest.fixture(scope="module")
def book(made_once: MadeOnce) -> Path:
    return made_once("honest", partial(simulate, accounts=LINES, months=MONTHS, seed=3, world=WORLD, futures=1))


@pytest.fixture(scope="module")
def episodes(book: Path) -> pd.DataFrame:
    return pd.read_parquet(book / "truth" / "episodes.parquet")


@cache
def source(book: Path, name: str) -> pd.DataFrame:
    """The last version of each event."""
    rows = pd.read_parquet(book / name).sort_values("known_time").drop_duplicates("event_id", keep="last")
    return rows[~rows["retracted"]]


def within(found: int, count: int, rate: float) -> bool:
    """Whether so many of ``count`` are likely at a rate: all but one in a million."""
    low, high = binom.ppf([5e-7, 1 - 5e-7], count, rate)
    return bool(low <= found <= high)


def first_days(book: Path, episodes: pd.DataFrame, cause: str) -> pd.DataFrame:
    """What a bank sees two days after the opening of the lines that a cause emptied."""
    struck = episodes[episodes["cause"] == cause][["account_id", "begins"]]
    limits = pd.read_parquet(book / "accounts")[["account_id", "limit_cents"]]
    seen = {}
    for name, kind in (("consumption", "draw"), ("payment", "transfer_out")):
        rows = source(book, name).merge(struck, on="account_id")
        rows = rows[(rows["kind"] == kind) & rows["event_time"].between(rows["begins"], rows["begins"] + 2 * DAY)]
        seen[kind] = rows.groupby("account_id")["amount_cents"].agg(["size", "sum", "max"]).add_prefix(f"{kind} ")
    table = struck.merge(limits, on="account_id").set_index("account_id").join(seen.values()).fillna(0)
    return table.assign(share=table["draw sum"] / table["limit_cents"]).drop(columns=["begins", "limit_cents"])


def test_a_first_need_looks_like_a_cash_out_and_is_repaid(book: Path, episodes: pd.DataFrame) -> None:
    planted, twins = (first_days(book, episodes, cause) for cause in ("cash_out", "first_need"))
    both = pd.concat([planted, twins])
    is_planted = np.arange(len(both)) < len(planted)
    assert len(planted) > 20 < len(twins)
    for name in both:
        auc = roc_auc_score(is_planted, both[name])
        assert max(auc, 1 - auc) < 0.75, name
    good = pd.read_parquet(book / "truth" / "lines.parquet").set_index("account_id")["good"]
    assert not good[planted.index].any()
    assert good[twins.index].mean() > 0.8


def test_causes_strike_at_their_rates(book: Path, episodes: pd.DataFrame) -> None:
    opened = pd.read_parquet(book / "accounts")["opened_at"]
    months = pd.date_range("2025-01-01", periods=MONTHS, freq="MS", tz="UTC")
    old = {month: int((opened < month - 5 * DAY).sum()) for month in months}
    new = int((opened >= months[0]).sum())
    chances = {
        **{cause: sum(old.values()) for cause in ("travel", "holiday", "takeover", "innocent_device")},
        "festival": old[months[0]] + old[months[1]],
        "first_need": new,
    }
    counts = episodes["cause"].value_counts()
    for cause, count in chances.items():  # nobody who is gone is struck any more, and few are gone
        assert within(counts[cause], int(0.97 * count), WORLD.causes[cause].rate), cause
    assert set(episodes.loc[episodes["cause"] == "festival", "begins"].dt.month) == {1, 2}
    assert set(counts.index) == set(CAUSES)


def test_each_line_has_its_due_day(book: Path) -> None:
    due = source(book, "payment").query("kind == 'due'")
    days = due.groupby("account_id")["event_time"].agg(lambda times: set(times.dt.day))
    assert (days.map(len) == 1).all()
    counts = days.map(min).value_counts()
    assert sorted(counts.index) == list(WORLD.portfolio.due_days)
    assert all(within(found, len(days), 1 / len(counts)) for found in counts)


def test_a_travel_draws_as_much_cash_as_a_takeover(book: Path, episodes: pd.DataFrame) -> None:
    """Some draw three times and two fifths of the line, within three and a half days of a sign-in elsewhere."""
    for cause in ("travel", "takeover"):
        struck = episodes[episodes["cause"] == cause][["account_id", "begins"]]
        accounts = pd.read_parquet(book / "accounts")[["account_id", "limit_cents", "home_city"]]
        struck = struck.merge(accounts, on="account_id")
        draws = source(book, "consumption").query("kind == 'draw'").merge(struck, on="account_id")
        draws = draws[draws["event_time"].between(draws["begins"], draws["begins"] + 3.5 * DAY)]
        found = draws.groupby("account_id").agg(n=("amount_cents", "size"), cents=("amount_cents", "sum"))
        limit = struck.set_index("account_id")["limit_cents"].reindex(found.index)
        assert ((found["n"] >= 3) & (found["cents"] >= 0.4 * limit)).mean() > 0.05, cause
        seen = source(book, "device").merge(struck, on="account_id")
        seen = seen[seen["event_time"].between(seen["begins"], seen["begins"] + DAY / 24)]
        assert (seen["city"] != seen["home_city"]).mean() > 0.5, cause


def late_days(book: Path, episodes: pd.DataFrame) -> pd.Series:
    """Days from the due date to the payment of instalments that were forgotten; empty where none came by the next."""
    payments, slips = source(book, "payment"), episodes[episodes["cause"] == "forgotten_instalment"]
    due = payments[payments["kind"] == "due"][["account_id", "instalment_id", "event_time"]]
    month = slips["begins"].dt.strftime("%m").astype(int)
    slips = slips.assign(instalment_id=slips["account_id"] + "-" + month.map("{:02d}".format))[["instalment_id"]]
    paid = payments[payments["kind"] == "repayment"].groupby("instalment_id")["event_time"].min()
    due = due.merge(slips, on="instalment_id")
    days = (due["instalment_id"].map(paid) - due["event_time"]) / DAY
    return days.where(days < 27)


def test_a_forgotten_instalment_is_paid_after_the_reminder_and_not_without(
    book: Path, episodes: pd.DataFrame, tmp_path: Path
) -> None:
    reminder = WORLD.reminder
    assert reminder is not None
    forgetful = episodes.loc[episodes["cause"] == "forgotten_instalment", "account_id"].str[1:].astype(int) - 1
    simulate(
        tmp_path, accounts=sorted(set(forgetful)), months=MONTHS, seed=3, futures=0, world=replace(WORLD, reminder=None)
    )
    with_it, without = late_days(book, episodes), late_days(tmp_path, episodes)
    paid = with_it.between(reminder.after_days, reminder.after_days + 5)
    assert within(paid.sum(), len(paid), reminder.heeded * 0.94)  # one payment in sixteen names no instalment
    assert without.between(reminder.after_days, reminder.after_days + 5).mean() < 0.15  # paid with the next one


def test_a_family_signs_in_from_one_phone(book: Path, episodes: pd.DataFrame) -> None:
    owners = source(book, "device").groupby("device_id")["account_id"].agg(set)
    shared = owners[owners.map(len) > 1]
    family = set(episodes.loc[episodes["cause"] == "family_phone", "account_id"])
    ring = set(episodes.loc[episodes["cause"] == "ring_fraud", "account_id"])
    homes = [accounts for accounts in shared if accounts <= family]
    assert len(homes) > 20
    assert all(len(accounts) <= 3 and not accounts & ring for accounts in homes)


def test_a_late_salary_makes_no_default(tmp_path: Path, book: Path, episodes: pd.DataFrame) -> None:
    """The same lines live on as they would have, but for days."""
    struck = sorted(set(episodes.loc[episodes["cause"] == "salary_delay", "account_id"].str[1:].astype(int) - 1))
    given: dict[str, Any] = {"accounts": struck, "months": MONTHS, "seed": 3, "world": WORLD, "futures": 1}
    simulate(tmp_path, **given, without=["salary_delay"])
    with_it, without = (
        pd.read_parquet(f / "truth" / "lines.parquet").set_index("account_id") for f in (book, tmp_path)
    )
    pd.testing.assert_series_equal(with_it.loc[without.index, "good"], without["good"])
    names = without.index
    assert not rows_of(book, "payment", names).equals(rows_of(tmp_path, "payment", names))


def people_and_scene(count: int, month: int = 0) -> Scene:
    chance = Chance(5)
    people = draw_people(chance, WORLD, np.arange(count), [0, 31, 59])
    return Scene(chance, WORLD, people, Month(month, 31 * month, 31, 1 + month % 12))


def test_ability_and_will_drift_and_suffer_when_income_is_lost() -> None:
    scene = people_and_scene(20_000)
    state = WORLD.state
    first = birth(scene.chance, scene.people, state)
    nobody, everybody = np.zeros(20_000, bool), np.ones(20_000, bool)
    after = first
    for month in range(12):
        after = live(replace(scene, month=replace(scene.month, index=month)), after, nobody)
    for name, kept in (("drift", state.ability_persistence), ("will", state.will_persistence)):
        old, new = getattr(first, name), getattr(after, name)
        assert np.corrcoef(old, new)[0, 1] == pytest.approx(kept**12, abs=0.03)
        assert new.std() == pytest.approx(old.std(), rel=0.03)
    calm, struck = live(scene, first, nobody), live(scene, first, everybody)
    np.testing.assert_allclose(calm.drift - struck.drift, state.ability_scar)
    np.testing.assert_allclose(calm.will - struck.will, state.will_scar)


def test_who_pays_follows_from_ability_and_from_will() -> None:
    scene = people_and_scene(60_000)
    fortune = birth(scene.chance, scene.people, WORLD.state)
    behind = replace(fortune, unpaid=fortune.unpaid + 1)
    able = scene.people.means + fortune.drift
    missed = pay(scene, behind, able).missed
    for latent in (able, fortune.will):
        low, high = latent < np.quantile(latent, 0.2), latent > np.quantile(latent, 0.8)
        assert missed[low].mean() > 1.4 * missed[high].mean()


def test_where_income_is_low_the_risk_is_higher() -> None:
    people = people_and_scene(60_000).people
    by_city = pd.DataFrame({"means": people.means, "income": np.log(people.income_cents)}).groupby(people.city).mean()
    assert by_city.corr().iloc[0, 1] > 0.8
    assert by_city["means"].std() < 0.35 * people.means.std()


def test_events_and_accounts_do_not_tell_the_truth(book: Path) -> None:
    telling = re.compile("|".join([*CAUSES, "ring", "mule", "platform", "payee", "family", "person"]))
    for name in SOURCES:
        rows = pd.read_parquet(book / name)
        assert list(rows.columns) == list(pq.read_schema(next((book / name).glob("*.parquet"))).names)
        for column in rows.select_dtypes(["object", "string"]).columns.drop("category", errors="ignore"):
            assert not rows[column].dropna().astype(str).str.contains(telling).any(), (name, column)
    devices = source(book, "device")["device_id"].unique()
    assert all(re.fullmatch(r"phone-\d+", device) for device in devices)


def test_the_bytes_are_those_of_the_seed_whatever_the_hash_seed_and_the_chunks(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from limitlens.data.world import named_world, simulate;"
        "simulate(Path(sys.argv[1]), accounts=200, months=2, seed=3, futures=0, world=named_world('honest'),"
        "chunk_accounts=int(sys.argv[2]))"
    )
    for hash_seed, chunk in (("1", "200"), ("2", "101")):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / chunk), chunk], check=True, env=environment)
    assert digests(tmp_path / "200") == digests(tmp_path / "101")


def decisions_on(book: Path) -> pd.DataFrame:
    """Of the lines there in April: a quarter frozen, a quarter halved, a quarter closed in the middle of the month."""
    accounts = pd.read_parquet(book / "accounts")
    lines = accounts[accounts["opened_at"] < APRIL].reset_index(drop=True)
    turn = np.arange(len(lines)) % 4
    action = np.array(["freeze", "decrease", "close", "keep"], object)[turn]
    limit = np.where(
        action == "close", 0, np.where(action == "decrease", lines["limit_cents"] // 2, lines["limit_cents"])
    )
    return pd.DataFrame(
        {
            "account_id": lines["account_id"],
            "as_of": np.where(action == "close", APRIL + 10.5 * DAY, APRIL),
            "action": action,
            "limit_cents": limit,
            "can_draw": np.isin(action, ["decrease", "keep"]),
        }
    ).astype({"as_of": "datetime64[us, UTC]"})


@pytest.fixture(scope="module")
def decisions(book: Path) -> pd.DataFrame:
    return decisions_on(book)


@pytest.fixture(scope="module")
def acted(made_once: MadeOnce, decisions: pd.DataFrame) -> Path:
    given: dict[str, Any] = {"accounts": LINES, "months": MONTHS, "seed": 3, "world": WORLD, "futures": 0}
    return made_once("acted", partial(simulate, **given, decisions=decisions))


@pytest.fixture(scope="module")
def judged(acted: Path) -> pd.DataFrame:
    return pd.read_parquet(acted / "truth" / "actions.parquet")


def before(rows: pd.DataFrame, decisions: pd.DataFrame, far: pd.Timestamp) -> pd.DataFrame:
    """Rows known before the decision about their line, or before ``far``."""
    when = rows["account_id"].map(decisions.set_index("account_id")["as_of"]).fillna(far)
    return rows[rows["known_time"] < when].reset_index(drop=True)


def test_the_world_before_a_decision_is_the_same_with_and_without_it(
    book: Path, acted: Path, decisions: pd.DataFrame
) -> None:
    far = pd.Timestamp("2030-01-01", tz="UTC")
    for name in SOURCES:
        ours, others = (before(pd.read_parquet(folder / name), decisions, far) for folder in (acted, book))
        pd.testing.assert_frame_equal(ours, others)
    untouched = decisions.loc[decisions["action"] == "keep", "account_id"]
    for name in SOURCES:
        pd.testing.assert_frame_equal(rows_of(acted, name, untouched), rows_of(book, name, untouched))


def test_nothing_is_drawn_above_what_a_decision_left(book: Path, acted: Path, decisions: pd.DataFrame) -> None:
    when = decisions.set_index("account_id")["as_of"]
    spent = source(acted, "consumption").query("kind in ['draw', 'purchase']")
    later = spent[spent["event_time"] > spent["account_id"].map(when)].merge(decisions, on="account_id")
    assert not len(later[later["action"].isin(["freeze", "close"])])
    assert len(later[later["action"] == "decrease"]) > 1_000
    rows = source(acted, "consumption")
    signs = rows["kind"].map({"draw": 1, "purchase": 1, "fee": 1, "refund": -1}) * rows["amount_cents"]
    repaid = source(acted, "payment").query("kind == 'repayment'")
    balance = signs.groupby(rows["account_id"]).sum() - repaid.groupby("account_id")["amount_cents"].sum()
    halved = decisions[decisions["action"] == "decrease"].set_index("account_id")["limit_cents"]
    used = (balance.reindex(halved.index).fillna(0) / halved).quantile(0.95)
    whole = source(book, "consumption")
    assert used < 1.1
    assert len(rows) < len(whole)


def test_customers_answer_as_often_as_the_settings_say(judged: pd.DataFrame) -> None:
    for action in ("decrease", "freeze", "close"):
        rows, answer = judged[judged["action"] == action], WORLD.reactions[action]
        assert len(rows) > 300
        for name in ("pays", "draws_less"):
            assert within((rows["answer"] == name).sum(), int(0.97 * len(rows)), getattr(answer, name)), (action, name)
        for name in ("leaves", "in_need"):  # tilted by ability, at most twice
            assert 0.2 * getattr(answer, name) < (rows["answer"] == name).mean() < 1.6 * getattr(answer, name)


def test_an_action_makes_bad_those_who_needed_the_line_and_never_those_who_left(judged: pd.DataFrame) -> None:
    by_answer = judged.groupby("answer")[["bad", "bad_without"]].mean()
    assert by_answer.loc["in_need", "bad"] > by_answer.loc["in_need", "bad_without"] + 0.02
    assert by_answer.loc["leaves", "bad"] <= by_answer.loc["leaves", "bad_without"]
    assert by_answer.loc["pays", "bad"] <= by_answer.loc["pays", "bad_without"]
    assert (judged["good"] == ~judged["bad_without"]).all()


def test_without_the_action_a_line_fares_as_in_the_world_without_it(book: Path, judged: pd.DataFrame) -> None:
    lines = pd.read_parquet(book / "truth" / "lines.parquet").set_index("account_id")["defaulted_at"]
    defaulted = judged["account_id"].map(lines)
    expected = defaulted <= judged["as_of"] + 183 * DAY
    assert (judged["bad_without"] == expected).all()
    assert judged["bad_without"].sum() > 20


def test_the_truth_about_an_action_names_the_innocent_cause_before_it(
    judged: pd.DataFrame, episodes: pd.DataFrame
) -> None:
    trips = episodes[episodes["cause"] == "travel"].merge(judged, on="account_id")
    recent = trips[trips["begins"].between(trips["as_of"] - 80 * DAY, trips["as_of"])]
    assert len(recent) > 5
    assert recent["innocent"].str.contains("travel").all()
    named = set(judged["innocent"].str.split(",").explode()) - {""}
    assert named <= TRAPS


def test_two_actions_are_judged_one_by_one(tmp_path: Path) -> None:
    """The first without any, the second with the first alone."""
    worst = replace(WORLD.reactions["freeze"], leaves=0.0, in_need=0.5, pays=0.0, draws_less=0.0, stress=30.0)
    world = replace(WORLD, reactions={"freeze": worst})
    names, march = [f"A{k:06d}" for k in range(1, 301)], APRIL - 31 * DAY
    both = pd.DataFrame(
        {
            "account_id": names * 2,
            "as_of": [march - 28 * DAY] * 300 + [march] * 300,
            "action": ["freeze"] * 300 + ["close"] * 300,
            "limit_cents": [10**9] * 300 + [0] * 300,
            "can_draw": False,
        }
    ).astype({"as_of": "datetime64[us, UTC]"})
    simulate(tmp_path, accounts=300, months=3, seed=3, world=world, futures=0, decisions=both)
    found = pd.read_parquet(tmp_path / "truth" / "actions.parquet").set_index("account_id")
    frozen, closed = (found[found["action"] == action] for action in ("freeze", "close"))
    assert (frozen["bad"].astype(int) - frozen["bad_without"].astype(int)).sum() > 20
    assert (closed["bad"] == closed["bad_without"]).mean() > 0.97


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.assign(account_id="B1"), "row 1, column account_id: B1 is not in this world"),
        (lambda rows: rows.assign(account_id="A000099"), "row 1, column account_id: A000099 is not in this world"),
        (
            lambda rows: rows.assign(as_of=APRIL + 900 * DAY),
            "row 1, column as_of: 2027-09-18 00:00:00+00:00 is not in this world; simulate as many months",
        ),
    ],
)
def test_decisions_about_another_world_are_refused(
    decisions: pd.DataFrame, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        simulate(tmp_path, accounts=50, months=6, futures=0, decisions=change(decisions.head(3)))


def test_a_file_of_decisions_is_read_or_refused_by_row_and_column(decisions: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "decisions.parquet"
    decisions.assign(more=1).to_parquet(path)
    pd.testing.assert_frame_equal(read_decisions(path), decisions, check_dtype=False)
    for rows, said in (
        (decisions.drop(columns="can_draw"), "no column can_draw"),
        (decisions.assign(action=None), "row 1, column action: an empty cell"),
        (decisions.assign(limit_cents="much"), "limitlens ledger export"),
    ):
        rows.to_parquet(path)
        with pytest.raises(InputError, match=rf"decisions\.parquet: .*{said}"):
            read_decisions(path)
    path.write_text("no table")
    with pytest.raises(InputError, match=r"decisions\.parquet: not a readable Parquet file"):
        read_decisions(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("due_days = [4, 8,", "due_days = [1, 8,", "due_days in [portfolio] is 1; expected 4 to 26"),
        ("due_days = [4, 8, 12, 16, 20, 24]", "due_days = []", "due_days in [portfolio] is empty"),
        ("will_persistence = 0.95", "will_persistence = 1.0", "expected 0 to 0.999"),
        ("pays = 0.10\n", "pays = 0.90\n", "the shares in [reactions.decrease] sum to 1.29; expected at most 1"),
        ("[reactions.freeze]", "[reactions.review]", "unknown key 'review'"),
        (
            "draws = [4, 8], purchases = [0, 3]",
            "draws = [8, 4], purchases = [0, 3]",
            "draws in [causes.burst_borrowing",
        ),
        ('device = "strange"', 'device = "odd"', "expected one of ['usual', 'new', 'strange']"),
        (
            "manner = { draws = [3, 8], purchases = [0, 2], days = 1.8, passed",
            "#",
            "'manner' is missing in [causes.first",
        ),
    ],
)
def test_wrong_mechanisms_are_refused_with_the_mend(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (ROOT / "conf" / "honest.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "honest.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"honest\.toml:\d+: .*{re.escape(said)}"):
        read_world(tmp_path / "honest.toml")


def test_the_command_line_chooses_the_world_and_what_the_lender_did(decisions: pd.DataFrame, tmp_path: Path) -> None:
    path, out = tmp_path / "decisions.parquet", tmp_path / "out"
    few = decisions[decisions["account_id"] <= "A000040"]
    few.assign(as_of=few["as_of"] - 59 * DAY).to_parquet(path)
    sizes = ["--accounts", "40", "--months", "2", "--seed", "3", "--futures", "0"]
    CliRunner().invoke(
        app, ["simulate", str(out), "--world", "honest", "--decisions", str(path), *sizes], catch_exceptions=False
    )
    assert set(pd.read_parquet(out / "truth" / "actions.parquet")["action"]) == {"freeze", "decrease", "close"}
    with pytest.raises(ConfigError, match="honset: no such world; name a TOML file, or one that ships: first, honest"):
        named_world("honset")
