"""Whether what `limitlens why` says could have been different can be done: `python -m benchmarks.recourse`.

Simulated books, decided by a model as it ships. Of every adverse decision with a way out, its moves are applied to the
events: what is overdue, or a part of the balance, is paid an hour before; the latest draws, purchases or transfers are
left out. The features are computed anew from these events, and the line is decided from the same state. Printed is the
share that comes out milder than it was, by the moves that were told. Example:

    python -m benchmarks.recourse --accounts 2000 --seeds 71 72 73
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.calendar import last_decision_dates
from limitlens.data.engine import run_sql
from limitlens.data.frames import to_arrow
from limitlens.data.world import simulate
from limitlens.features.table import build_table
from limitlens.limits.policy import ACTIONS, ADVERSE
from limitlens.limits.policy_file import at_once
from limitlens.limits.recourse import Recourse, find_recourse
from limitlens.limits.state import state_before
from limitlens.pipeline import Workspace, check, decide, default_policy, default_settings, promote, train
from limitlens.pipeline.deciding.replay import recorded_decisions
from limitlens.pipeline.release.promote import Override

#: What a customer action leaves out: the source and the kind of its rows.
LEFT_OUT = {
    "frequent_draws": ("consumption", "draw"),
    "high_spending": ("consumption", "purchase"),
    "transfers_out": ("payment", "transfer_out"),
}
WINDOWS = (2, 7, 30)


def decided_book(folder: Path, accounts: int, seed: int) -> Workspace:
    """A simulated book, trained and decided for its last two months."""
    simulate(folder / "events", accounts=accounts, seed=seed, futures=0)
    workspace = Workspace(folder / "work")
    check(workspace, folder / "events")
    first, *_ = last_decision_dates(workspace.events.known_until(), 3)
    train(workspace, default_settings(), at_once(default_policy()), developer="developer", until=first)
    promote(workspace, None, first, override=Override("head of credit risk", "a benchmark"))
    decide(workspace, as_of=first)
    decide(workspace)
    return workspace


def ways_out(workspace: Workspace) -> Iterator[tuple[pd.DataFrame, pd.DataFrame, Recourse]]:
    """Each adverse decision with a way out: the decision, what it read, the way."""
    decisions = recorded_decisions(workspace)
    adverse = decisions[decisions["action"].isin(ADVERSE)].reset_index(drop=True)
    iteration = workspace.iteration(str(workspace.registry.champion()))
    features = iteration.model.features
    points = adverse[["account_id", "as_of"]].assign(known_by=adverse["as_of"])
    table = build_table(features, points, workspace.relations(features)).set_index(["account_id", "as_of"], drop=False)
    for place in range(len(adverse)):
        row = adverse.iloc[[place]].reset_index(drop=True)
        read = table.loc[[(row["account_id"][0], row["as_of"][0])]].reset_index(drop=True)
        if found := find_recourse(iteration, read, state_before(row), row.iloc[0]):
            yield row, read, found


def thinned(rows: pd.DataFrame, as_of: pd.Timestamp, fraction: float) -> set[str]:
    """The latest rows to be left out, so that a fraction is missing in each window."""
    gone: set[str] = set()
    for days in WINDOWS:
        inside = rows[rows["event_time"] >= as_of - pd.Timedelta(days=days)].sort_values("event_time", ascending=False)
        wanted = int(np.floor(fraction * len(inside) + 1e-9)) - int(inside["event_id"].isin(gone).sum())
        gone |= set(inside.loc[~inside["event_id"].isin(gone), "event_id"].head(max(wanted, 0)))
    return gone


Case = tuple[pd.DataFrame, pd.DataFrame, Recourse]


def applied(workspace: Workspace, cases: list[Case]) -> pd.DataFrame:
    """Actions of the cases of one date, decided from events on which the moves were made."""
    iteration = workspace.iteration(str(workspace.registry.champion()))
    relations = workspace.relations(iteration.model.features)
    events = {name: run_sql(f"SELECT * FROM ({relations[name]})") for name in ("consumption", "payment")}
    changed = {name: _changed(name, rows, cases) for name, rows in events.items()}
    rows = pd.concat([row for row, _, _ in cases], ignore_index=True)
    points = rows[["account_id", "as_of"]].assign(known_by=rows["as_of"])
    table = build_table(iteration.model.features, points, {**relations, **changed}).set_index("account_id", drop=False)
    after = iteration.decide(table.loc[rows["account_id"]].reset_index(drop=True), state_before(rows))["action"]
    milder = [ACTIONS.index(new) < ACTIONS.index(old) for new, old in zip(after, rows["action"], strict=True)]
    told = ["; ".join(move.code for move in way.moves) for _, _, way in cases]
    promised = [way.action for _, _, way in cases]
    return pd.DataFrame({"told": told, "milder": milder, "promised": promised, "got": after})


def _changed(source: str, events: pa.Table, cases: list[Case]) -> pa.Table:
    """One source without the rows that would not have been, with the payments that would have been."""
    rows, gone, paid = events.to_pandas(), set(), []
    for row, read, way in cases:
        account, as_of = row["account_id"][0], row["as_of"][0]
        for move in way.moves:
            where, kind = LEFT_OUT.get(move.code, ("payment", "repayment"))
            if where != source:
                continue
            if move.code in LEFT_OUT:
                mine = rows[(rows["account_id"] == account) & (rows["kind"] == kind)]
                mine = mine[(mine["event_time"] < as_of) & (mine["known_time"] < as_of)]
                gone |= thinned(mine.drop_duplicates("event_id"), as_of, move.fraction)
            else:
                owed = "past_due_cents" if move.code == "late_payments" else "balance_cents"
                share = 1.0 if move.code == "late_payments" else move.fraction
                paid.append((account, as_of - pd.Timedelta(hours=1), int(share * read[owed][0])))
    kept = rows[~rows["event_id"].isin(gone)]
    if paid:
        like = rows[rows["kind"] == "repayment"].iloc[np.zeros(len(paid), np.int64)].reset_index(drop=True)
        accounts, times, cents = zip(*paid, strict=True)
        when = pd.Series(times).astype(rows["event_time"].dtype)
        ids = [f"paid-{place}" for place in range(len(paid))]
        more = like.assign(event_id=ids, account_id=accounts, event_time=when, known_time=when, amount_cents=cents)
        kept = pd.concat([kept, more], ignore_index=True)
    return to_arrow(kept, events.schema)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[71, 72, 73])
    given = parser.parse_args()
    found = []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as name:
            workspace = decided_book(Path(name), given.accounts, seed)
            every = list(ways_out(workspace))
            for as_of in sorted({row["as_of"][0] for row, *_ in every}):
                mine = [case for case in every if case[0]["as_of"][0] == as_of]
                found.append(applied(workspace, mine))
            print(f"book {seed}: {len(every)} adverse decisions with a way out", flush=True)
    table = pd.concat(found, ignore_index=True)
    shown = table.groupby("told")["milder"].agg(["size", "sum"]).rename(columns={"size": "cases", "sum": "milder"})
    print(shown.sort_values("cases", ascending=False).to_string())
    print(f"all: {table['milder'].sum()} of {len(table)}, {table['milder'].mean():.1%}")


if __name__ == "__main__":
    main()
