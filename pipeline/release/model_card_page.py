"""The model card as a page, as Markdown and as plain data: the facts that are signed, and what is on record beside."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import pandas as pd

from limitlens.data.damage import read_json
from limitlens.data.errors import WorkspaceError
from limitlens.data.storage import file_sha256
from limitlens.limits.policy import Monitoring
from limitlens.limits.signed import CARD, signable
from limitlens.pipeline.pages.chinese import in_language
from limitlens.pipeline.pages.page import Section, render
from limitlens.pipeline.release.inventory import InventoryRow, inventory
from limitlens.pipeline.workspace import Workspace

_USES = {"train": "training", "test": "validation", "unused": "nothing: its labels reach too far",
         "indeterminate": "nothing: neither good nor bad"}  # fmt: skip

_ALARMS = {
    "psi": "PSI of the PD since the training",
    "csi": "PSI of a feature",
    "mean_pd_ratio": "mean PD by the bads of the training, or the other way round",
    "roll_ratio": "share of a bucket that rolls on, by that of its past",
    "observed_ratio": "bads that came by those expected, or the other way round",
    "auc_drop": "AUC below the validated or the expected one by",
}


def model_card_of(workspace: Workspace, version: str, at: datetime) -> dict[str, Any]:
    """What is known of a version: its card, and what is on record of it at this moment.

    Parameters
    ----------
    workspace : Workspace
    version : str
    at : datetime
        Now; a review is overdue after its day.

    Returns
    -------
    dict
        ``card``, its ``card_sha256``, what a reviewer ``signs``, the ``sign_offs``, and the row of the ``inventory``.

    Raises
    ------
    WorkspaceError
        There is no such version, or it was trained before there were cards.
    IntegrityError
        The card is damaged.
    """
    model = workspace.registry.model(version)
    path = workspace.root / model.folder / CARD
    if not path.is_file():
        raise WorkspaceError(
            f"version {version} was trained before there were model cards; read its validation.html, or train again."
        )
    [row] = [row for row in inventory(workspace, at) if row.model_version == version]
    return {
        "card": read_json(path, dict),
        "card_sha256": file_sha256(path),
        "signs": signable(workspace.root, model),
        "sign_offs": [asdict(one) for one in workspace.registry.sign_offs(version).values()],
        "inventory": asdict(row),
    }


def rendered(known: dict[str, Any], kind: str, language: str = "en") -> str:
    """The card to be read.

    Parameters
    ----------
    known : dict
        Of :func:`model_card_of`.
    kind : {"html", "md"}
    language : {"en", "zh"}
        Of a page.
    """
    card, row = known["card"], InventoryRow(**known["inventory"])
    label, figures = card["label"], card["performance"]
    context = {
        "title": "Model card",
        "lead": f"Version {row.model_version}: the probability that a credit line goes bad within "
        f"{label['horizon_months']} months.",
        "head": {
            "State": f"{row.state}{', review overdue' if row.overdue else ''}",
            "Tier": f"{row.tier} of 3" if row.tier else "not named by the policy",
            "Owner": row.owner or "not named by the policy",
            "Developer": row.developer,
            "Reviewer": f"{row.reviewer}, {row.reviewed}" if row.reviewer else "nobody",
            "Next review": row.review_due or "none: it is not live",
            "Policy": f"{card['policy']['name']}, {card['policy']['digest'][:16]}",
            "Model": card["model"]["digest"][:16],
            "Card": known["card_sha256"][:16],
        },
        "warnings": [],
        "verdict": card["verdict"],
        "sections": [
            _purpose(card),
            _data(card),
            _population(card),
            _inputs(card),
            _protected(card),
            _performance(figures),
            _limits_of_use(card),
            _monitoring(card),
            _signed(known),
        ],
        "signers": {},
    }
    page = render(f"sections.{kind}.j2", context)
    return in_language(page, language) if kind == "html" else page


def _purpose(card: dict[str, Any]) -> Section:
    label = card["label"]
    text = (
        f"A line is bad when it is {label['default_dpd_days']} or more days past due within "
        f"{label['horizon_months']} months after the as-of time, or when the lender delivered that outcome. The policy "
        "named above decides limits by this PD, beside its rules; it is for nothing else."
    )
    return Section("Purpose and label", text)


def _data(card: dict[str, Any]) -> Section:
    data, until = card["data"], card["label"]["labels_end"][:10]
    rows = data["splits"]
    table = pd.DataFrame(
        {
            "used for": [_USES.get(row["split"], row["split"]) for row in rows],
            "first as-of date": [row["first"] for row in rows],
            "last as-of date": [row["last"] for row in rows],
            "lines": [f"{row['rows']:,}" for row in rows],
            "bad": [f"{row['bads']:,}" for row in rows],
        }
    )
    known = f" Nothing was used that was known from {data['known_before'][:10]} on." if data["known_before"] else ""
    verdicts = f" {data['verdict_rows']:,} rows beside these stand on verdicts." if data["verdict_rows"] else ""
    champion = f" Members of version {data['champion']} stayed." if data["champion"] else ""
    return Section("Data and dates", f"Labels look until {until}.{known}{verdicts}{champion}", table)


def _population(card: dict[str, Any]) -> Section:
    who = card["population"]
    text = (
        f"It was judged on {who['lines']:,} lines that were open and not in default: {who['new_lines']:,} of them "
        f"under {who['new_line_days']} days old, {who['without_limit']:,} without a limit."
    )
    table = pd.DataFrame(
        {"segment": list(who["segments"]), "lines": [f"{count:,}" for count in who["segments"].values()]}
    )
    return Section("Population", text, table, names=("segment",))


def _inputs(card: dict[str, Any]) -> Section:
    inputs = card["inputs"]
    table = pd.DataFrame(
        {
            "source": [{"line": "the line itself"}.get(source, source) for source in inputs],
            "inputs": [f"{len(names):,}" for names in inputs.values()],
            "names": [", ".join(names) for names in inputs.values()],
        }
    )
    text = f"{sum(map(len, inputs.values())):,} inputs, by the source they are made of."
    return Section("Inputs", text, table, names=("names",))


def _protected(card: dict[str, Any]) -> Section:
    delivered, read = card["protected"]["delivered"], card["protected"]["read"]
    if not delivered:
        return Section("Protected attributes", "None came with the accounts.")
    table = pd.DataFrame(
        {
            "attribute": list(delivered),
            "read by the model": ["yes" if name in read else "no" for name in delivered],
            "uncut, smallest group by largest": [_figure(one["impact_ratio"]) for one in delivered.values()],
            "largest difference of good or bad lines cut": [
                _figure(one["odds_difference"]) for one in delivered.values()
            ],
        }
    )
    text = "How the policy would treat the lines it was judged on, by attributes that came with the accounts."
    return Section("Protected attributes", text, table, names=("attribute",))


def _figure(number: float | None) -> str:
    return "–" if number is None else f"{number:.3f}"


def _performance(figures: dict[str, Any]) -> Section:
    auc, observed = figures["intervals"]["auc"], figures["intervals"]["observed_share"]
    values = {
        "lines": f"{figures['rows']:,}",
        "bad": f"{figures['bads']:,}",
        "AUC": f"{figures['auc']:.4f}, 95% [{auc[0]:.4f}, {auc[1]:.4f}]",
        "Gini": f"{figures['gini']:.4f}",
        "KS": f"{figures['ks']:.4f}",
        "Brier score": f"{figures['brier']:.4f}",
        "bad, observed": f"{figures['observed_share']:.2%}, 95% [{observed[0]:.2%}, {observed[1]:.2%}]",
        "bad, expected": f"{figures['expected_share']:.2%}",
    }
    how = "out of time" if figures["kind"] == "out of time" else "out of fold"
    table = pd.DataFrame({"figure": list(values), "value": list(values.values())})
    return Section("Performance", f"On rows it has not seen, {how}.", table)


def _limits_of_use(card: dict[str, Any]) -> Section:
    weak = [section["title"] for section in card["verdict"]["sections"] if section["findings"]]
    text = (
        "The PD is for lines that are open, not in default and known to the lender, over "
        f"{card['label']['horizon_months']} months. It is silent about lines whose feed is late, about applicants "
        "without a line, and about loss given default."
    )
    text += f" Known weaknesses are above: {'; '.join(weak)}." if weak else " No weakness is known from the validation."
    return Section("Limits and known weaknesses", text)


def _monitoring(card: dict[str, Any]) -> Section:
    usual = asdict(Monitoring())  # of a bound that is younger than the card
    bounds = Monitoring(**{name: card["monitoring"].get(name, value) for name, value in usual.items()})
    table = pd.DataFrame(
        {
            "alarm above": list(_ALARMS.values()),
            "bound": [f"{getattr(bounds, name):g}" for name in _ALARMS],
        }
    )
    text = (
        f"Each month is looked at once it was decided; chance alone may raise one kind of alarm in {bounds.chance:.1%} "
        f"of the months. A live version is reviewed again within {card['monitoring']['review_months']} months."
    )
    return Section("Monitoring", text, table)


def _signed(known: dict[str, Any]) -> Section:
    words = (
        f"A reviewer, who is not the developer, signs {known['signs'][:16]}: the sha256 over version, model, policy, "
        "validation and this card."
    )
    if not known["sign_offs"]:
        return Section("Signed", f"{words} Nobody has signed.")
    table = pd.DataFrame(
        {
            "date": [one["signed_at"][:10] for one in known["sign_offs"]],
            "name": [one["actor"] for one in known["sign_offs"]],
            "decision": [one["verdict"] for one in known["sign_offs"]],
            "of what is there": ["yes" if one["sha256"] == known["signs"] else "no" for one in known["sign_offs"]],
            "reason": [one["reason"] for one in known["sign_offs"]],
        }
    )
    return Section("Signed", words, table, names=("name", "reason"))
