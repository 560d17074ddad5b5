"""Our policy beside a real lender's: `python -m benchmarks.case_superlender DATA --out docs/case-superlender.md`.

Every loan of superlender after a customer's first is a decision of that lender: it raised, kept or cut the amount.
The same moment is decided here, from what was known then, with the amount of the loan before as the limit, and the
two are laid side by side: how often they agree, and how the customers turned out.
"""

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from limitlens.data.check import check_events
from limitlens.data.importing import import_files
from limitlens.data.shipped_mappings import read_mapping
from limitlens.features.spine import lines_at
from limitlens.features.table import build_table
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import ADVERSE
from limitlens.limits.policy_file import at_once, parse_policy
from limitlens.limits.state import first_state
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

#: A loan is repaid before the next one begins, so a line is never in use at the moment of a decision.
UNUSED_LINES = ("increase_min_utilisation = 0.30", "increase_min_utilisation = 0.0")

#: Two moments at which the whole book is decided.
FIRST, THEN = datetime(2017, 7, 1, tzinfo=UTC), datetime(2017, 7, 14, tzinfo=UTC)

THEIRS = ("raised", "kept", "cut")
OURS = ("raise", "keep", "review", "cut")


def quiet(_: str) -> None:
    """Progress nobody reads."""


def read_loans(source: Path) -> pd.DataFrame:
    """Every loan that has one before it, from the delivered files.

    ``late``: the first repayment came after its due date; ``bad``: the delivered outcome; each missing where it is
    not delivered. ``theirs``: what the lender did with the amount.
    """
    names = ("trainprevloans", "testprevloans", "trainperf")
    loans = pd.concat([pd.read_csv(source / f"{name}.csv.gz") for name in names], ignore_index=True)
    loans = loans.sort_values(["customerid", "loannumber"], ignore_index=True)
    cents = (loans["loanamount"] * 100).astype(np.int64)
    before = cents.groupby(loans["customerid"]).shift()
    late = pd.to_datetime(loans["firstrepaiddate"]) > pd.to_datetime(loans["firstduedate"])
    rows = pd.DataFrame(
        {
            "account_id": loans["customerid"],
            "as_of": pd.to_datetime(loans["approveddate"], utc=True).astype("datetime64[us, UTC]"),
            "amount_cents": cents,
            "before_cents": before,
            "late": late.astype("boolean").where(loans["firstduedate"].notna()),
            "bad": (loans["good_bad_flag"] == "Bad").astype("boolean").where(loans["good_bad_flag"].notna()),
        }
    )
    rows = rows[before.notna()].reset_index(drop=True)
    step = rows["amount_cents"] - rows["before_cents"]
    return rows.assign(theirs=np.select([step > 0, step < 0], ["raised", "cut"], "kept"))


def workspace_of(data: Path, folder: Path) -> Workspace:
    """Import, check, train on the delivered outcomes and promote, with the shipped settings."""
    import_files(read_mapping("superlender"), data / "superlender", folder / "events")
    workspace = Workspace(folder / "work")
    check_events(folder / "events", workspace.events, progress=quiet)
    text = at_once(default_policy()).text
    assert UNUSED_LINES[0] in text, "the shipped policy says it in other words now"
    policy = parse_policy(text.replace(*UNUSED_LINES))
    train(workspace, default_settings(), policy, developer="developer", progress=quiet)
    override = Override("head of credit risk", "a case")
    promote(workspace, None, datetime(2018, 1, 1, tzinfo=UTC), override=override, progress=quiet)
    return workspace


def decided(workspace: Workspace, loans: pd.DataFrame) -> pd.DataFrame:
    """Our decision on each loan, with the amount of the loan before as the limit in force."""
    champion = workspace.iteration(str(workspace.registry.champion()))
    iteration = Iteration(champion.model, champion.policy, champion.model_version)
    relations = workspace.relations(iteration.model.features)
    points = loans[["account_id", "as_of"]].assign(known_by=loans["as_of"]).drop_duplicates()
    lines = lines_at(points, relations)
    table = build_table(iteration.model.features, lines, relations)
    rows = lines[["account_id", "as_of", "opened_at"]].merge(loans, on=["account_id", "as_of"], validate="one_to_one")
    state = first_state(rows.assign(limit_cents=rows["before_cents"]), np.zeros(len(rows), bool))
    found = iteration.decide(table.reset_index(drop=True), state)
    ours = found["action"].map(lambda action: "cut" if action in ADVERSE else {"increase": "raise"}.get(action, action))
    return rows.assign(ours=ours, our_cents=found["limit_cents"], pd=found["pd"], action=found["action"])


def side_by_side(rows: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Loans by what the lender did and what we would do, with the share that went wrong and the mean PD."""
    known = rows[rows[outcome].notna()].assign(wrong=rows[outcome].astype("Float64"))
    table = known.groupby(["theirs", "ours"]).agg(loans=("wrong", "size"), wrong=("wrong", "mean"), pd=("pd", "mean"))
    order = [(theirs, ours) for theirs in THEIRS for ours in OURS if (theirs, ours) in table.index]
    return table.loc[order].reset_index()


def agreement(rows: pd.DataFrame) -> float:
    """Share of loans where both raise, both cut, or both do neither."""
    ours = rows["ours"].map({"raise": "raised", "cut": "cut"}).fillna("kept")
    return float((ours == rows["theirs"]).mean())


def three_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Customers, credit and defaults under both, on loans whose outcome was delivered."""
    known = rows[rows["bad"].notna()]
    bad = known["bad"].astype(bool)
    found = {}
    for name, raised, cut, cents in (
        ("the lender", known["theirs"] == "raised", known["theirs"] == "cut", known["amount_cents"]),
        ("our policy", known["ours"] == "raise", known["ours"] == "cut", known["our_cents"]),
    ):
        change = cents - known["before_cents"]
        found[name] = {
            "good customers raised": f"{(raised & ~bad).sum():,}",
            "bad customers raised": f"{(raised & bad).sum():,} ({bad[raised].mean():.1%} of the raised)",
            "good customers cut": f"{(cut & ~bad).sum():,}",
            "bad customers cut": f"{(cut & bad).sum():,} ({bad[cut].mean():.1%} of the cut)",
            "credit of good customers": _share(change[~bad].sum(), known.loc[~bad, "before_cents"].sum()),
            "credit of bad customers": _share(change[bad].sum(), known.loc[bad, "before_cents"].sum()),
        }
    return pd.DataFrame(found)


def _share(change: float, base: float) -> str:
    return f"{change / base:+.1%}".replace("-", "−")


def ten_cases(workspace: Workspace, loans: pd.DataFrame) -> list[tuple[str, str]]:
    """What we say of ten customers whose amount the lender moved in the week after our decision.

    Five raises and five cuts: those first where we moved too, then the largest steps.
    """
    for as_of in (FIRST, THEN):
        decide(workspace, as_of=as_of, progress=quiet)
    then = pd.Timestamp(THEN)
    current = workspace.ledger.current()
    mine = current[(current["as_of"] == then) & current["phi_behaviour"].notna()].set_index("account_id")
    week = loans[(loans["as_of"] >= then) & (loans["as_of"] < then + pd.Timedelta(days=7))]
    week = week[(week["theirs"] != "kept") & week["account_id"].isin(mine.index)]
    row = mine.loc[week["account_id"]]
    acted = (row["action"] != "keep").to_numpy()
    step = (week["amount_cents"] / week["before_cents"] - 1).abs()
    ranked = week.assign(acted=acted, step=step).sort_values(
        ["acted", "step", "account_id"], ascending=[False, False, True]
    )
    chosen = pd.concat([ranked[ranked["theirs"] == way].head(5) for way in ("raised", "cut")])
    told = []
    for number, loan in enumerate(chosen.itertuples(), 1):
        known = "outcome not known" if pd.isna(loan.bad) else "it went bad" if loan.bad else "it was repaid"
        title = f"{number}. The lender {loan.theirs} the amount by {loan.step:.0%}; {known}"
        text = render(why(workspace, str(loan.account_id), THEN))
        told.append((title, text.replace(str(loan.account_id), f"customer {number}")))
    return told


def page(rows: pd.DataFrame, cases: list[tuple[str, str]]) -> str:
    """The page, with every figure in it."""
    july = rows[rows["bad"].notna()]
    names = {"theirs": "the lender", "ours": "our policy", "loans": "loans", "wrong": "went wrong", "pd": "mean PD"}
    tables = []
    for outcome in ("bad", "late"):
        shown = side_by_side(rows, outcome)
        shown = shown.assign(loans=shown["loans"].map("{:,}".format))
        shown = shown.assign(wrong=shown["wrong"].map("{:.1%}".format), pd=shown["pd"].map("{:.1%}".format))
        tables.append(_markdown(shown.rename(columns=names)))
    cuts = july[july["theirs"] == "cut"]
    loved = cuts[cuts["ours"] == "raise"]
    kept = july[(july["theirs"] == "kept") & (july["ours"] == "cut")]
    moved = rows["theirs"].value_counts()
    answers = "\n\n".join(f"### {title}\n\n```\n{text}\n```" for title, text in cases)
    bad_share = {way: july.loc[july["theirs"] == way, "bad"].astype(float).mean() for way in THEIRS}
    return f"""# A real lender's raises and cuts beside ours

SuperLender lends small amounts for weeks and moves the amount from one loan to the next: {moved["raised"]:,} raises and
{moved["cut"]:,} cuts in {len(rows):,} loans after a customer's first ([the set](real-data.md)). This page decides the
same moments again. `python -m benchmarks.case_superlender DATA --out docs/case-superlender.md` printed every figure.

- The limit in force is the amount of the loan before. Features see what was known at the approval.
- The model learned from the outcomes of July 2017; each customer is scored by the members that never saw them. For
  loans before July that is still a look from the future: a lender of 2016 could not have had this model.
- The policy is the shipped one, segment `growing_loan`, with one line changed: a line may be raised though it is not
  in use, since a loan is repaid before the next begins.
- The outcomes are those under the lender's amounts. Nobody knows how a customer with another amount would have done.
- Customers whose earlier loans are in the set came back: those who did not are missing.

## Loans of July 2017, whose outcome was delivered

The two agree on {agreement(july):.1%} of {len(july):,} loans.

{tables[0]}

The lender's cuts do not follow the risk: {bad_share["cut"]:.1%} of the customers that it cut went bad,
{bad_share["raised"]:.1%} of those it raised and {bad_share["kept"]:.1%} of those it kept. Of the {len(loved):,} that it
cut and we would have raised {loved["bad"].astype(float).mean():.1%} went bad, of the {len(kept):,} that it kept and we
would have cut {kept["bad"].astype(float).mean():.1%}.

{_markdown(three_columns(rows).reset_index(names=""))}

## All loans, judged by whether the first repayment came late

The two agree on {agreement(rows):.1%} of {len(rows):,} loans.

{tables[1]}

## Ten of them

The whole book was decided at {FIRST:%Y-%m-%d} and at {THEN:%Y-%m-%d}. These are ten customers whose amount the lender
moved in the week after: those first where we acted too, then its largest steps. The set may not be quoted row by row,
so customers have no name here.

{answers}
"""


def _markdown(table: pd.DataFrame) -> str:
    head = "| " + " | ".join(map(str, table.columns)) + " |"
    rows = ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    return "\n".join([head, "|" + "---|" * len(table.columns), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with superlender")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        workspace = workspace_of(given.data, Path(temporary))
        loans = read_loans(given.data / "superlender")
        text = page(decided(workspace, loans), ten_cases(workspace, loans))
    given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
