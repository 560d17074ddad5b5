"""A new feature costs one declaration: the page that says so runs, and what it declares is what the oracle computes."""

import doctest
from dataclasses import replace
from pathlib import Path
from typing import Any

from limitlens.features.catalogue import CATALOGUE
from limitlens.features.declarations import Aggregate, FeatureSet
from tests.feature_events import DAY, assert_equals_oracle, spine
from tests.strategies import AS_OF

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "add-a-feature.md"


def run_page() -> dict[str, Any]:
    """Names the page leaves behind."""
    text = PAGE.read_text(encoding="utf-8").replace("```", "")
    found = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    results = doctest.DocTestRunner().run(found, clear_globs=False)
    assert results.attempted > 10
    assert not results.failed
    return found.globs


def test_the_page_runs_and_its_feature_equals_the_oracle() -> None:
    declared: Aggregate = run_page()["smallest"]
    row = {"account_id": "A1", "kind": "purchase", "category": None, "channel": None, "retracted": None}
    rows = [
        row | {"event_id": f"e{k}", "amount_cents": cents, "event_time": AS_OF - age, "known_time": AS_OF - age}
        for k, (cents, age) in enumerate([(500, DAY), (300, 3 * DAY), (100, 40 * DAY)])
    ]
    rows = [r | {"delivered_known_time": r["known_time"]} for r in rows]
    events = {"consumption": rows, "payment": [], "device": []}
    assert_equals_oracle(FeatureSet((declared,)), spine((AS_OF, AS_OF)), events)
    assert_equals_oracle(
        replace(CATALOGUE, aggregates=(declared,), ratios=(), shares=()), spine((AS_OF, AS_OF)), events
    )
