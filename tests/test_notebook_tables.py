"""What a notebook shows of a result: the figures that matter, and no markup that came with the data."""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from limitlens.data.check import LoadReport, SourceCount
from limitlens.limits.comparison import Breach, Comparison
from limitlens.pipeline.answers.answer import Answer, Data, Decision, Line, Model, Notice, Split
from limitlens.pipeline.deciding.reconcile import Reconciled
from limitlens.pipeline.deciding.record import Decided
from limitlens.pipeline.release.compare import Compared
from limitlens.pipeline.training.train import Trained

EVIL = "<script>alert(1)</script>"
NOW = datetime(2026, 7, 1, tzinfo=UTC)

LOAD = LoadReport("0001", {EVIL: SourceCount(1, 1_200, 1_190, 7, 3)}, {}, {}, (), (), (), (), 0, 0, {})
_BY_CAUSE = {"behaviour": -140_000, "data": 0}
DECIDED = Decided(
    ("2026-07-01",), 1_500, 1_400, 60, 50, 0, 0.02, 0.03, 0, 0, 0, {"close": 4}, _BY_CAUSE, (), False, (), (), True,
    (f"hold 1 of account {EVIL}",), "3", "d",
)  # fmt: skip
RECONCILED = Reconciled(("2026-06-01",), 1_200, 3, 9, 1, _BY_CAUSE, 7, None, ((EVIL, "2026-06-01"),))
_SEGMENTS = pd.DataFrame({"lines": [1_500], "moved": [60], "raised_cents": [140_000], "cut_cents": [0]}, [EVIL])
COMPARED = Compared(
    "1", "2", NOW, NOW, Comparison(_SEGMENTS, _SEGMENTS, {}), _SEGMENTS, (Breach("moved", EVIL, 0.2, 0.1),), "Li Na"
)
TRAINED = Trained(EVIL, "m", "p", "r", {"kind": "out of time", "metrics": {"auc": 0.81234, "rows": 1_200}})


def partly(part: type[Any], **known: object) -> Any:
    """A part of an answer of which only this is known."""
    return part(**dict.fromkeys(part.__dataclass_fields__) | known)


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (LOAD, ["load 0001", "<td>1,200</td><td>1,190</td><td>7</td><td>3</td>"]),
        (DECIDED, ["1,500 decisions by version 3", "<th>close</th><td>4</td>", "<td>−1,400.00</td>"]),
        (RECONCILED, ["1,200 splits are final", "<th>revised</th><td>3</td>", "<td>−1,400.00</td>"]),
        (COMPARED, ["version 1 beside 2", "<td>1,500</td><td>60</td><td>1,400.00</td><td>0.00</td>"]),
        (TRAINED, ["<th>auc</th><td>0.8123</td>", "<th>rows</th><td>1,200</td>"]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_result_shows_its_figures_and_markup_in_its_data_is_inert(
    result: LoadReport | Decided | Reconciled | Compared | Trained, shown: list[str]
) -> None:
    html = result._repr_html_()
    assert all(part in html for part in shown)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_an_answer_shows_what_was_decided_and_markup_in_an_account_id_is_inert() -> None:
    decided = {"action": "decrease", "as_of": "2026-07-01", "limit_before_cents": 200_000, "limit_cents": 60_000}
    answer = Answer(
        line=partly(Line, account_id=EVIL),
        decision=partly(Decision, **decided, pd=0.25),
        split=partly(Split, share_cents=_BY_CAUSE),
        model=partly(Model),
        data=partly(Data),
        notice=partly(Notice, reason_texts=(EVIL,)),
    )
    html = answer._repr_html_()
    assert "<th>limit</th><td>2,000.00 → 600.00</td>" in html
    assert "<th>behaviour</th><td>−1,400.00</td>" in html
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 2
