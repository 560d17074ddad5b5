"""The model card: what is known of a version when it is trained, as plain data; a reviewer signs it.

What comes later (who reviewed it, its state, the next review) is not in it: it is on record beside it.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from limitlens.features.line import NO_LIMIT, line_column_names
from limitlens.limits.policy import Policy
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.fairness import fairness
from limitlens.pipeline.tracking import TrainingRecord
from limitlens.pipeline.training.judged import Judged
from limitlens.pipeline.training.tail_report import is_new

#: Of what lies in the file.
_FORMAT = 1


def model_card(
    judged: Judged, validation: dict[str, Any], policy: Policy, developer: str, record: TrainingRecord
) -> dict[str, Any]:
    """Facts of a version, each as the training, the validation or the policy has it.

    Parameters
    ----------
    judged : Judged
    validation : dict
        Its figures and its verdict.
    policy : Policy
        Released with the model.
    developer : str
    record : TrainingRecord
    """
    model, rows, release = judged.model, judged.rows, policy.release
    return {
        "format": _FORMAT,
        "model": {
            "digest": model.digest,
            "features": model.features.digest,
            "contract": model.contract,
            "members": {name: len(scorer.members) for name, scorer in model.scorers.items()},
            "calibration": {name: scorer.calibration.method for name, scorer in model.scorers.items()},
        },
        "policy": {"name": policy.name, "digest": policy.digest},
        "label": {
            "default_dpd_days": model.settings.default_dpd_days,
            "horizon_months": model.settings.horizon_months,
            "labels_end": model.labels_end,
        },
        "data": {
            "events": record.events,
            "known_before": record.until,
            "splits": _splits(judged.table.rows),
            "verdict_rows": len(judged.table.verdicts),
            "champion": record.champion,
        },
        "population": {
            "lines": len(rows),
            "segments": {str(name): int(count) for name, count in rows["segment"].value_counts().sort_index().items()},
            "new_line_days": model.settings.new_line_days,
            "new_lines": int(is_new(judged).sum()),
            "without_limit": int((rows["limit_cents"] == NO_LIMIT).sum()),
        },
        "inputs": _inputs(model),
        "protected": {
            "read": list(model.settings.protected),
            "delivered": {str(name): _treated(judged, str(name)) for name in judged.protected},
        },
        "performance": {
            "kind": validation["kind"],
            **{name: validation["metrics"][name] for name in validation["metrics"]},
            "intervals": validation["intervals"],
        },
        "verdict": validation["verdict"],
        "monitoring": {**asdict(policy.alarms), "review_months": release.review_months},
        "answers": {
            "developer": developer,
            "owner": release.owner,
            "approver": release.approver,
            "tier": release.tier,
            "sign_off": release.sign_off,
        },
    }


def _splits(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What the rows of the training table were used for."""
    splits = rows.groupby("split").agg(
        first=("as_of", "min"), last=("as_of", "max"), rows=("bad", "size"), bads=("bad", "sum")
    )
    return [
        {
            "split": str(name),
            "first": f"{row['first']:%Y-%m-%d}",
            "last": f"{row['last']:%Y-%m-%d}",
            "rows": int(row["rows"]),
            "bads": int(row["bads"]),
        }
        for name, row in splits.sort_values("first").to_dict("index").items()
    ]


def _inputs(model: DefaultRiskModel) -> dict[str, list[str]]:
    """Names of the inputs by the source they are made of; ``line``: of the line itself."""
    declared, line = model.features.declaration_of, set(line_column_names(model.features))
    by_source: dict[str, list[str]] = {}
    for name in model.columns:
        source = declared[name].source if name in declared else "line" if name in line else "accounts"
        by_source.setdefault(source, []).append(name)
    return by_source


def _treated(judged: Judged, name: str) -> dict[str, float | None]:
    """How the policy would treat the groups of one protected attribute; null where no two can be compared."""
    figures = fairness(judged.protected[name], judged.bad, judged.pd_, judged.cut)
    values = {"impact_ratio": figures.impact_ratio, "odds_difference": figures.odds_difference}
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}
