"""Are the reasons told what counted: `python -m benchmarks.faithfulness WORKSPACE [--lines 100] [--retrain 5]`.

Of the adverse decisions and pauses of a ledger, a sample. The reasons on record are held against the account's own row
at the decision before, and against a peer (the median of the lines that were kept at that date): do they push the PD up
there too; does taking them away (putting their columns to those of the baseline) lower the PD, by more than taking away
as many reasons that were not told, and does the policy then decide more mildly; are they the same with every number off
by 5% at most, and by two halves of the members.

With `--retrain` so many models are trained anew, as the one in question was but without members of an earlier one,
each on as many accounts drawn with replacement (`limitlens stress` draws the same), and asked about the same lines.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import ACTIONS, FLAGGED
from limitlens.limits.state import state_before
from limitlens.models.faithfulness import codes_told, halves, jittered, log_odds_of, overlap, pushes, without
from limitlens.pipeline.deciding.point_in_time import rows_at, tables_at
from limitlens.pipeline.deciding.replay import iterations, recorded_decisions
from limitlens.pipeline.training.resampled import learned_by
from limitlens.pipeline.workspace import Workspace


def measured(space: Workspace, lines: int, retrain: int = 0, seed: int = 1) -> dict[str, float]:
    """Figures over a sample of decisions of the iteration that made most of them."""
    decisions = recorded_decisions(space)
    decisions["before"] = decisions.groupby("account_id")["as_of"].shift()
    made_by = iterations(space, set(decisions["run_id"]))
    version = decisions["model_version"].mode().iloc[0]
    own = decisions[(decisions["model_version"] == version) & decisions["action"].isin(FLAGGED)]
    chosen = own.sample(min(lines, len(own)), random_state=seed).sort_values(["as_of", "account_id"], ignore_index=True)
    kept = decisions[(decisions["action"] == "keep") & decisions["as_of"].isin(chosen["as_of"])]
    kept = kept.groupby("as_of").head(200).reset_index(drop=True)
    iteration = made_by[chosen["run_id"].iloc[0]]
    past = chosen[chosen["before"].notna()]
    moments = [rows[["account_id", "as_of"]].assign(known_by=rows["as_of"]) for rows in (chosen, kept)]
    moments.append(past[["account_id"]].assign(as_of=past["before"], known_by=past["before"]))
    wanted = pd.concat(moments).drop_duplicates(ignore_index=True)
    table = tables_at(wanted, {iteration.model.features}, space)[iteration.model.features.digest]
    now = _with_line(rows_at(table, chosen["account_id"], chosen["as_of"], chosen["as_of"]), chosen)
    peers = _peers(rows_at(table, kept["account_id"], kept["as_of"], kept["as_of"]), now)
    codes = [list(mine) for mine in chosen["reasons"]]
    place = past.index
    before = rows_at(table, past["account_id"], past["before"], past["before"]).set_index(place)
    return {
        "decisions": len(chosen),
        "reasons": sum(map(len, codes)),
        "push up, against the own past row": pushes(iteration.model, before, now.loc[place], [codes[i] for i in place]),
        "push up, against a peer": pushes(iteration.model, peers, now, codes),
        **_removal(iteration, chosen, now, peers, codes),
        "the same with noise of 5%": overlap(
            codes_told(iteration.model, now), codes_told(iteration.model, jittered(iteration.model.features, now))
        ),
        "the same by halves of the members": _by_halves(iteration, now),
        **(_retrained(space, version, now, retrain) if retrain else {}),
    }


def _with_line(table: pd.DataFrame, decisions: pd.DataFrame) -> pd.DataFrame:
    facts = {name: decisions[f"state.{name}"].to_numpy() for name in ("limit_cents", "line_age_days")}
    return table.assign(**facts)


def _peers(kept: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """The median kept line of each row's date; what is no number stays the account's own."""
    names = [name for name in kept if pd.api.types.is_numeric_dtype(kept[name])]
    medians = kept.groupby("as_of")[names].median().reindex(now["as_of"]).set_index(now.index)
    return now.assign(**{name: medians[name] for name in names})


def _removal(
    iteration: Iteration, chosen: pd.DataFrame, now: pd.DataFrame, peers: pd.DataFrame, codes: list[list[str]]
) -> dict[str, float]:
    model = iteration.model
    declared = sorted({one.reason for one in model.features.declaration_of.values()})
    random = np.random.default_rng(1)
    others = [
        list(random.choice([c for c in declared if c not in mine], min(len(mine), len(declared) - len(mine)), False))
        for mine in codes
    ]
    left, rest = (without(model.features, now, peers, some) for some in (codes, others))
    fell, fell_rest = (log_odds_of(model, now) - log_odds_of(model, rows) for rows in (left, rest))
    state = state_before(chosen)
    severity = {action: place for place, action in enumerate(ACTIONS)}
    facts = ["limit_cents", "line_age_days"]
    asked, after, after_rest = (
        iteration.decide(rows.drop(columns=facts), state)["action"].map(severity).to_numpy()
        for rows in (now, left, rest)
    )
    return {
        "the PD falls without them": float((fell > 0).mean()),
        "by more than without as many others": float((fell > fell_rest).mean()),
        "decided more mildly without them": float((after < asked).mean()),
        "decided more mildly without as many others": float((after_rest < asked).mean()),
    }


def _by_halves(iteration: Iteration, now: pd.DataFrame) -> float:
    parts = halves(iteration.model)
    return overlap(*(codes_told(part, now) for part in parts)) if parts else float("nan")


def _retrained(space: Workspace, version: str, now: pd.DataFrame, times: int) -> dict[str, float]:
    """How far reasons are those of models that learned from other accounts."""
    model = space.iteration(version).model
    with learned_by(space, version) as learned:
        told = [codes_told(learned.fit(learned.draw(1, number)), now) for number in range(1, times + 1)]
    mine, pairs = codes_told(model, now), list(combinations(told, 2))
    first = [a[:1] == b[:1] for one in told for a, b in zip(mine, one, strict=True)]
    kept = [code in b for one in told for a, b in zip(mine, one, strict=True) for code in a]
    return {
        "the same after retraining on accounts drawn anew": float(np.mean([overlap(mine, one) for one in told])),
        "the same by two such models": float(np.mean([overlap(*pair) for pair in pairs])) if pairs else float("nan"),
        "told again by such a model": float(np.mean(kept)),
        "the first reason the same": float(np.mean(first)),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--lines", type=int, default=100)
    parser.add_argument("--retrain", type=int, default=0)
    given = parser.parse_args()
    for name, figure in measured(Workspace(given.workspace), given.lines, given.retrain).items():
        print(f"{name}: {figure:,}" if isinstance(figure, int) else f"{name}: {figure:.1%}")


if __name__ == "__main__":
    main()
