"""Reasons for the customer: a code for everything that can count, words in both languages, nothing but own factors."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limitlens.data.protected import PROTECTED_WORDS
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.reasons import NOT_BEFORE_DAYS, REASONS, REASONS_VERSION, check_reasons, reasons_digest
from limitlens.models.calibration import Calibration
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.explanation import reason_codes
from limitlens.models.scorer import Scorer
from limitlens.pipeline.workspace import default_policy, default_settings

#: Codes by the version that brought them. Decisions on record name them: add lines here, never take one away.
RELEASED = {
    1: {
        "few_repayments", "frequent_draws", "high_balance", "high_obligations", "high_spending", "high_utilisation",
        "large_draws", "late_payments", "low_inflow", "new_device", "new_place", "night_activity", "spending_pattern",
        "transfers_out", "unusual_sign_in",
    },
    2: {"failed_sign_ins", "shared_device", "shared_payee"},
    3: {"data_incident"},
    4: {"shared_risk"},
}  # fmt: skip

#: What the words of each version hash to; other words need another version.
DIGESTS = {
    3: "042f03103e4d7ee5033e5b549a3cf300d1591b5427a1386931c9fe8ba0aa76bf",
    4: "f73dedb1e78c5a3408b40d1d38d6fc125b21b372325570c0cba5201687f578f8",
}

MODEL = DefaultRiskModel(
    features=replace(CATALOGUE, attributes=(("age", "number"), ("occupation", "text"))),
    categories={},
    book=Scorer((), Calibration("platt", ((0.0, 1.0),))),
    new_lines=None,
    settings=default_settings(),
    contract="",
    labels_end="2026-01-01",
)


def test_no_code_that_was_ever_given_is_gone() -> None:
    assert set().union(*RELEASED.values()) == set(REASONS)
    assert max(RELEASED) <= REASONS_VERSION


def test_other_words_have_another_version() -> None:
    assert DIGESTS[REASONS_VERSION] == reasons_digest()


def test_every_feature_and_rule_has_a_code() -> None:
    assert check_reasons(CATALOGUE) is CATALOGUE
    assert {rule.reason for rule in default_policy().rules} <= set(REASONS)


@pytest.mark.parametrize("reason", ["", "bad_vibes"])
def test_a_catalogue_with_a_feature_nobody_could_be_told_about_is_refused(reason: str) -> None:
    first, *others = CATALOGUE.aggregates
    with pytest.raises(ValueError, match=f"feature {first.column_names()[0]}: got reason '{reason}'"):
        check_reasons(replace(CATALOGUE, aggregates=(replace(first, reason=reason), *others)))


def test_every_code_has_words_in_both_languages_that_stand_alone() -> None:
    for english, chinese in REASONS.values():
        assert re.fullmatch(r"[a-z][a-z ,-]+", english)
        assert re.fullmatch(r"[\u4e00-\u9fff、]+", chinese)
    assert len({words for pair in REASONS.values() for words in pair}) == 2 * len(REASONS)


def test_no_words_name_a_protected_attribute() -> None:
    words = " ".join(english for english, _ in REASONS.values()).split()
    assert not PROTECTED_WORDS & set(words)


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(sorted(REASONS)), max_size=5))
def test_at_most_four_reasons_those_of_rules_first_and_none_of_the_line_or_its_attributes(
    seed: int, evidence: list[str]
) -> None:
    shap = pd.DataFrame([np.random.default_rng(seed).normal(-1, 1, len(MODEL.columns))], columns=list(MODEL.columns))
    declared = CATALOGUE.declaration_of
    shap[[name for name in MODEL.columns if name not in declared]] = 99.0
    [codes] = reason_codes(MODEL, shap, [evidence], np.array([400]))
    ruled = list(dict.fromkeys(evidence))[:4]
    assert len(codes) == len(set(codes)) <= 4
    assert codes[: len(ruled)] == ruled
    against = shap.iloc[0].groupby(lambda name: declared[name].reason if name in declared else "none").sum()
    assert all(against[code] > 0 for code in codes[len(ruled) :])
    assert "none" not in codes


def test_the_strongest_own_factor_is_the_first_reason() -> None:
    shap = pd.DataFrame(0.0, index=[0], columns=list(MODEL.columns)).assign(dpd_days=0.5, draw_count_2d=0.9, age=5.0)
    assert reason_codes(MODEL, shap, [[]], np.array([0])) == [["frequent_draws", "late_payments"]]


def test_a_young_line_is_not_told_of_what_could_not_be_otherwise_yet() -> None:
    shap = pd.DataFrame(0.0, index=[0, 1], columns=list(MODEL.columns)).assign(
        repayment_count_30d=0.9, draw_count_2d=0.5
    )
    assert reason_codes(MODEL, shap, [[], []], np.array([29, 30])) == [
        ["frequent_draws"],
        ["few_repayments", "frequent_draws"],
    ]
    assert reason_codes(MODEL, shap.head(1), [["few_repayments"]], np.array([2]))[0][0] == "few_repayments"
    assert set(NOT_BEFORE_DAYS) <= set(REASONS)
