"""Sections of the validation report that look for what a model should not know: the outcome, and who somebody is."""

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.features.line import limit_and_age
from limitlens.limits.finding import Finding
from limitlens.models.fairness import groups_of
from limitlens.models.inputs import account_numbers, fold_of, text_columns
from limitlens.models.leakage import AUC_ALONE, GAIN_SHARE, category_shares, gain_shares, suspects
from limitlens.models.proxies import AUC_TOLD, Proxy, find_proxy
from limitlens.models.validation import measure
from limitlens.pipeline.pages.page import Section
from limitlens.pipeline.training.judged import Judged

#: Rows that are looked at, the same every time.
_LEAKAGE_ROWS = 10_000
_PROXY_ROWS = 1_500

#: Inputs shown beside the suspect ones.
_SHOWN = 10


def leakage_section(judged: Judged) -> Section:
    """Whether one input alone knows the outcome."""
    chosen = _of_both_kinds(judged.bad, _LEAKAGE_ROWS // 2)
    rows, bad, pd_ = judged.rows.iloc[chosen].reset_index(drop=True), judged.bad[chosen], judged.pd_[chosen]
    inputs, columns = judged.model.inputs(rows, *limit_and_age(rows)), judged.model.columns
    _write_category_shares(judged, rows, inputs)
    by_input = suspects(inputs, columns, bad, pd_, gain_shares(judged.model))
    suspect = by_input["suspicion"] != ""
    shown = by_input.head(int(suspect.sum()) + _SHOWN)
    table = pd.DataFrame(
        {
            "input": shown["feature"],
            "AUC alone": shown["auc"].map("{:.4f}".format),
            "share of the gain": shown["gain_share"].map("{:.1%}".format),
            "suspect": shown["suspicion"].replace("", "no"),
        }
    )
    whole = measure(bad, pd_).auc
    text = (
        f"How well each of the {len(columns)} inputs tells the lines that went bad alone, on {len(rows):,} validation "
        f"rows, in the direction and with what is missing at the end that tell most; a category stands by the share of "
        f"bads it had in training. The whole model: {whole:.4f}. Suspect is an AUC of {AUC_ALONE} or more, one above "
        f"that of the whole model by more than chance, or a share above {GAIN_SHARE:.0%} of the gain of the trees: "
        "such an input may know the outcome (Kaufman et al. 2012). See when it was known."
    )
    findings = [
        Finding(
            f"target leakage? {row['feature']} alone has an AUC of {row['auc']:.3f} (whole model {whole:.3f}) and "
            f"{row['gain_share']:.0%} of the gain: {row['suspicion']}",
            "See when it was known, or leave it out.",
        )
        for row in by_input[suspect].to_dict("records")
    ]
    return Section("Target leakage", text, table, findings=findings, names=("input",))


def _of_both_kinds(bad: BoolArray, most: int) -> IntArray:
    """Places of rows, at most so many good and so many bad ones: an AUC does not know how many there are of each."""
    return np.sort(np.concatenate([_some(np.flatnonzero(bad == kind), most) for kind in (False, True)]))


def _some(places: IntArray, size: int) -> IntArray:
    chosen: IntArray = pd.Series(places).sample(min(size, len(places)), random_state=1).sort_values().to_numpy(np.int64)
    return chosen


def _write_category_shares(judged: Judged, rows: pd.DataFrame, inputs: FloatArray) -> None:
    """Put the share of bads that a category had in training in place of its code."""
    model, names = judged.model, text_columns(judged.model.features)
    train = judged.table.split("train")
    known = judged.table.with_features(train, names)
    folds = [fold_of(account_numbers(one["account_id"]), model.settings.folds, 0) for one in (known, rows)]
    bad = known["bad"].to_numpy(bool)
    for name in names:
        codes = [pd.Categorical(one[name], categories=list(model.categories[name])).codes for one in (known, rows)]
        place = model.columns.index(name)
        inputs[:, place] = category_shares(
            codes[0].astype(np.int64), bad, folds[0], codes[1].astype(np.int64), folds[1]
        )


def proxy_section(judged: Judged) -> Section:
    """Whether the inputs stand for a protected attribute that is none of them."""
    title = "Proxies of protected attributes"
    if judged.protected.columns.empty:
        return Section(title, "No protected attribute came with the accounts, so nothing can be said about proxies.")
    chosen = _some(np.arange(len(judged.rows)), _PROXY_ROWS)
    rows = judged.rows.iloc[chosen].reset_index(drop=True)
    inputs = judged.model.inputs(rows, *limit_and_age(rows))
    proxies = {str(name): _proxy(judged, str(name), chosen, inputs) for name in judged.protected}
    separable = {name: proxy for name, proxy in proxies.items() if proxy}
    table = pd.DataFrame(
        {
            "attribute": list(proxies),
            "told best": [proxy.group if proxy else "too few lines of two groups" for proxy in proxies.values()],
            "lines": [f"{proxy.rows:,}" if proxy else "–" for proxy in proxies.values()],
            "AUC": [f"{proxy.auc:.3f}" if proxy else "–" for proxy in proxies.values()],
            "by": [", ".join(proxy.features) if proxy else "–" for proxy in proxies.values()],
            "correlation with the PD": [f"{proxy.correlation:.3f}" if proxy else "–" for proxy in proxies.values()],
        }
    )
    text = (
        "No model reads these attributes unless they are switched on; other inputs may stand for them (Barocas & "
        f"Selbst 2016). How well a small model tells them from all other inputs, on at most {_PROXY_ROWS:,} validation "
        "rows, each by trees that never saw its account: the AUC of the group that is told best against all others, "
        "numbers in quarters, and the five inputs that tell it best. The correlation is the correlation ratio of the "
        f"PD, 0 where the groups have one mean PD. From an AUC of {AUC_TOLD} on a reviewer decides."
    )
    findings = [
        Finding(
            f"proxy? the inputs tell {name} with an AUC of {proxy.auc:.3f} ({proxy.group} against the others), best by "
            f"{', '.join(proxy.features)}",
            f"Read the fairness of {name}, or leave them out.",
        )
        for name, proxy in separable.items()
        if proxy.auc >= AUC_TOLD
    ]
    return Section(title, text, table, findings=findings, names=("attribute", "by"))


def _proxy(judged: Judged, name: str, chosen: IntArray, inputs: FloatArray) -> Proxy | None:
    """What the inputs of some rows say about one attribute; where it is switched on, the others."""
    others = [place for place, column in enumerate(judged.model.columns) if column != name]
    columns, texts = [judged.model.columns[place] for place in others], text_columns(judged.model.features)
    return find_proxy(
        groups_of(judged.protected[name].iloc[chosen]),
        inputs[:, others],
        columns,
        categorical=[place for place, column in enumerate(columns) if column in texts],
        account=account_numbers(judged.rows["account_id"].iloc[chosen]),
        pd_=judged.pd_[chosen],
    )
