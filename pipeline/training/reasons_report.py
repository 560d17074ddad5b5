"""Reasons: whether what a customer would be told is what counted, on the lines that the policy would act on."""

from typing import Any

import numpy as np
import pandas as pd

from limitlens.features.line import LINE_FACTS, NO_LIMIT, limit_and_age
from limitlens.features.reasons import MAX_REASONS
from limitlens.limits.finding import Finding
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import ACTIONS, Policy
from limitlens.limits.state import first_state
from limitlens.models.explanation import reason_codes, shap_values
from limitlens.models.faithfulness import (
    NOISE,
    codes_told,
    halves,
    jittered,
    log_odds_of,
    overlap,
    pushes,
    without,
)
from limitlens.pipeline.pages.page import Section
from limitlens.pipeline.training.judged import Judged

#: Lines that are looked at; with fewer than the least there is no doubt.
_LINES, _LEAST = 100, 20

#: Lines that are left alone, whose median is the peer.
_PEERS = 1_000

_WORDS = {
    "own_past": "of the reasons, push the PD up against the account's own last row of the training months",
    "peers": "of the reasons, push the PD up against a peer: the median of the lines left alone",
    "falls": "of the lines: the PD falls once what is told is as in that peer",
    "milder": "of the lines: decided more mildly then",
    "milder_others": "of the lines: decided more mildly with as many reasons that are not told as in that peer",
    "noise": f"of the reasons stay the same with every number off by {NOISE:.0%} at most",
    "halves": "of the reasons are the same by two halves of the members, each trained apart",
}


_MEND = "Train again with features whose reasons can be told, or have the rules name what counts."


def reasons_figures(judged: Judged, policy: Policy) -> dict[str, Any]:
    """Figures on a sample of the lines that the policy would act on, as plain data.

    Parameters
    ----------
    judged : Judged
    policy : Policy
        Released with the model.

    Returns
    -------
    dict
        ``lines`` looked at, ``without_reason`` of them, and shares, null where there is nothing to measure.
    """
    own = judged.rows[judged.cut]
    left = judged.rows[~judged.cut & (judged.rows["limit_cents"] != NO_LIMIT).to_numpy()]
    if own.empty or left.empty or not judged.model.features.declaration_of:
        return {"lines": 0, "without_reason": 0}
    rows = own.sample(min(_LINES, len(own)), random_state=1).reset_index(drop=True)
    peers = _peers(left.sample(min(_PEERS, len(left)), random_state=1), rows)
    iteration = Iteration(judged.model, policy, "")
    every = _codes(iteration, rows)
    named = np.array([bool(mine) for mine in every])
    counts = {"lines": len(rows), "without_reason": int((~named).sum())}
    if not named.any():
        return counts
    rows, peers = rows[named].reset_index(drop=True), peers[named].reset_index(drop=True)
    codes = [mine for mine in every if mine]
    features = judged.model.features
    noisy = overlap(codes_told(judged.model, rows), codes_told(judged.model, jittered(features, rows)))
    parts = halves(judged.model)
    shares = {
        "own_past": _own_past(judged, rows, codes),
        "peers": pushes(judged.model, peers, rows, codes),
        **_removed(iteration, rows, peers, codes),
        "noise": noisy,
        "halves": overlap(*(codes_told(part, rows) for part in parts)) if parts else None,
    }
    return counts | {name: None if share is None or np.isnan(share) else share for name, share in shares.items()}


def reasons_section(figures: dict[str, Any], policy: Policy) -> Section:
    """The figures, for the validation report.

    Parameters
    ----------
    figures : dict
        Of :func:`reasons_figures`.
    policy : Policy
    """
    shown = {words: figures[name] for name, words in _WORDS.items() if figures.get(name) is not None}
    text = (
        f"Of the lines that the policy would act on, {figures['lines']:,} were looked at; "
        f"{figures['without_reason']:,} have no reason that could be told. A letter has at most {MAX_REASONS} reasons: "
        "those of fired rules, then what speaks most against the account as it stands. So they are to hold against "
        "peers; against the account's own past they need not, and a letter does not say that they are what changed."
    )
    table = pd.DataFrame({"share": [f"{share:.1%}" for share in shown.values()], "what": list(shown)})
    findings = [Finding(doubt, _MEND, blocks=True) for doubt in reasons_doubts(figures, policy)]
    if (lines := figures["lines"] - figures["without_reason"]) < _LEAST:
        findings.append(
            Finding(
                f"only {lines:,} lines with a reason would be acted on, {_LEAST} are needed to say whether it counted",
                "Judge it again once the policy acts on more lines, or read some cases.",
            )
        )
    return Section("Are the reasons told what counted", text, table if shown else None, findings=findings)


def reasons_doubts(figures: dict[str, Any], policy: Policy) -> list[str]:
    """What speaks against using a model whose reasons are not those of its decisions; nothing if nothing does.

    Parameters
    ----------
    figures : dict
        Of :func:`reasons_figures`.
    policy : Policy
        Its ``[release] reasons_share`` is the bound.
    """
    lines, milder = figures["lines"] - figures["without_reason"], figures.get("milder")
    if milder is None or lines < _LEAST or milder >= policy.release.reasons_share:
        return []
    return [
        f"its reasons are not those of its decisions: without what is told {milder:.0%} of {lines:,} lines would be "
        f"decided more mildly, {policy.release.reasons_share:.0%} are asked for"
    ]


def _codes(iteration: Iteration, rows: pd.DataFrame) -> list[list[str]]:
    """Reasons of the rules that would fire, then of the score."""
    limit, age = limit_and_age(rows)
    decided = _decided(iteration, rows, rows)
    reason_of = {rule.name: rule.reason for rule in iteration.policy.evidence}
    evidence = [[reason_of[rule] for rule in fired if rule in reason_of] for fired in decided["fired_rules"]]
    return reason_codes(iteration.model, shap_values(iteration.model, rows, limit, age), evidence, age)


def _decided(iteration: Iteration, rows: pd.DataFrame, of: pd.DataFrame) -> pd.DataFrame:
    """What would be decided of some rows, on paper, with the lines of others."""
    state = first_state(of, np.zeros(len(of), bool))
    return iteration.decide(rows.drop(columns=list(LINE_FACTS)), state)


def _peers(left: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The median line that is left alone, as often as there are rows; what is no number stays the account's own."""
    names = [name for name in left if pd.api.types.is_numeric_dtype(left[name]) and name not in LINE_FACTS]
    return rows.assign(**{str(name): float(left[name].median()) for name in names})


def _own_past(judged: Judged, rows: pd.DataFrame, codes: list[list[str]]) -> float | None:
    """Against the last training row of each account; None where no account has one."""
    if judged.out_of_fold:
        return None
    train = judged.table.split("train")
    known = train[train["account_id"].isin(rows["account_id"])].sort_values("as_of")
    last = known.drop_duplicates("account_id", keep="last")
    if last.empty:
        return None
    past = judged.table.with_features(last).set_index("account_id")
    has = rows["account_id"].isin(past.index).to_numpy()
    before = past.loc[rows.loc[has, "account_id"]].copy().reset_index()  # a copy: the columns in one piece
    mine = [code for code, known_before in zip(codes, has, strict=True) if known_before]
    return pushes(judged.model, before, rows[has].reset_index(drop=True), mine)


def _removed(iteration: Iteration, rows: pd.DataFrame, peers: pd.DataFrame, codes: list[list[str]]) -> dict[str, float]:
    """What becomes of PD and decision once the reasons told, or as many others, are those of the peer."""
    features, random = iteration.model.features, np.random.default_rng(1)
    every = sorted({one.reason for one in features.declaration_of.values()})
    others = []
    for mine in codes:
        rest = [code for code in every if code not in mine]
        others.append([str(code) for code in random.permutation(rest)[: len(mine)]])
    severity = {action: place for place, action in enumerate(ACTIONS)}
    left, other = (without(features, rows, peers, some) for some in (codes, others))
    asked, after, after_others = (
        _decided(iteration, some, rows)["action"].map(severity).to_numpy() for some in (rows, left, other)
    )
    return {
        "falls": float((log_odds_of(iteration.model, left) < log_odds_of(iteration.model, rows)).mean()),
        "milder": float((after < asked).mean()),
        "milder_others": float((after_others < asked).mean()),
    }
