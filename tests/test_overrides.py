"""What a person orders is recorded beside the decision, and the next one starts from it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.errors import WorkspaceError
from limitlens.limits.attribution import LATTICE, PLAYERS
from limitlens.limits.entries import attribution_entries
from limitlens.limits.lattice import Lattice
from limitlens.limits.override import OVERRIDE_ACTIONS, overridden
from limitlens.limits.state import NEVER_DAYS, first_state, in_holdout, next_state, state_before, unpacked
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.order_override import override
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.deciding.states_before import carried, states_before
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.ledgers import LAST, NOON, quiet, records_of

pytestmark = pytest.mark.slow


def test_the_next_decision_starts_from_the_override_and_its_shares_sum_to_the_change_since(
    behind: Workspace, small_workspace: Workspace
) -> None:
    usual = small_workspace.ledger.query(f"SELECT * FROM current WHERE as_of = '{LAST}' ORDER BY account_id")
    calm = usual[usual["can_draw"] & (usual["action"] == "keep") & usual["previous_as_of"].notna()]
    raised, lowered, frozen, closed, kept = calm["account_id"].iloc[:5]
    orders = {raised: 99_000_00, lowered: 1_234_56}
    for account, cents in orders.items():
        override(behind, account, at=NOON, actor="Chen Wei", reason="salary slip", limit_cents=cents)
    for account, action in {frozen: "freeze", closed: "close", kept: "keep"}.items():
        override(behind, account, at=NOON, actor="Li Na", reason="a call", action=action)
    decide(behind, progress=quiet)
    found = behind.ledger.query(f"SELECT * FROM current WHERE as_of = '{LAST}' ORDER BY account_id")

    lines = found.set_index("account_id")
    assert {account: lines.loc[account, "limit_before_cents"] for account in orders} == orders
    change = lines["limit_cents"] - lines["limit_before_cents"]
    split = lines["phi_state"].notna()
    assert (lines[[f"phi_{player}" for player in PLAYERS]].sum(axis=1) == 120 * change)[split].all()
    assert (lines[[f"share_cents_{player}" for player in PLAYERS]].sum(axis=1) == change)[split].all()
    assert closed not in lines.index

    states = lines["state"]
    assert not states[frozen]["can_draw"]
    assert {states[account]["changed_at"] for account in (raised, lowered, frozen)} == {pd.Timestamp(NOON)}
    assert {states[account]["adverse_at"] for account in (lowered, frozen)} == {pd.Timestamp(NOON)}
    same = [name for name in usual.columns if name not in {"run_id", "previous_as_of"}]
    others, touched = usual[~usual["account_id"].isin(calm["account_id"].iloc[:4])], [raised, lowered, frozen]
    left = found[~found["account_id"].isin(touched)].reset_index(drop=True)
    pd.testing.assert_frame_equal(left[same], others.reset_index(drop=True)[same])

    for account in (*touched, kept):
        assert replay(behind, quiet, account) > 0
    told = render(why(behind, raised, LAST))
    assert "Chen Wei ordered limit 2026-06-30T12:00:00" in told
    assert "→ 99,000.00: salary slip." in told
    assert verify(behind)[0] == len(behind.ledger.runs()) + records_of(behind) + 5


@given(hnp.arrays(np.int64, (3, *LATTICE), elements=st.integers(0, 10**13)), st.integers(0, 10**13))
def test_shares_sum_to_the_change_since_the_override(limits: np.ndarray, before: int) -> None:
    given_before = np.array([limits[0, 0, 0, 0, 0], before, before])
    times = dict.fromkeys(("as_of", "previous_as_of", "known_by"), pd.Timestamp(LAST))
    changes = pd.DataFrame({"account_id": ["A", "B", "C"], "limit_before_cents": given_before}).assign(**times)
    entries = attribution_entries(Lattice(limits, np.zeros(limits.shape, np.int8)), changes)
    phi = entries[[f"phi_{player}" for player in PLAYERS]].sum(axis=1)
    shown = entries[[f"share_cents_{player}" for player in PLAYERS]].sum(axis=1)
    assert (phi == 120 * (limits[:, 3, 1, 1, 1] - given_before)).all()
    assert (shown == limits[:, 3, 1, 1, 1] - given_before).all()


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(-1, 5), st.sampled_from(OVERRIDE_ACTIONS), st.integers(1, 5)),
        max_size=9,
    )
)
def test_a_line_carries_every_override_between_two_decisions_one_after_the_other(
    orders: list[tuple[int, int, str, int]],
) -> None:
    times = pd.Series([pd.Timestamp(LAST).as_unit("us")] * 3)
    lines = pd.DataFrame({"account_id": list("ABC"), "limit_cents": 300, "opened_at": times, "as_of": times})
    last = first_state(lines, np.zeros(3, bool)).add_prefix("state.")
    last = last.assign(account_id=list("ABC"), as_of=times, action="keep", limit_cents=300, can_draw=True, pd=0.25)
    cells = [("ABC"[i], LAST + timedelta(days=day), action, 100 * cents) for i, day, action, cents in orders]
    given_orders = pd.DataFrame(cells, columns=["account_id", "at", "action", "limit_cents"])
    given_orders = given_orders.assign(id=range(len(orders)), at=given_orders["at"].astype("datetime64[us, UTC]"))
    found = carried(last, times + pd.Timedelta(days=4), given_orders)

    for i, account in enumerate("ABC"):
        limit, can_draw, changed, adverse = 300, True, None, None
        for _, at, action, cents in sorted((c for c in cells if c[0] == account), key=lambda cell: cell[1]):
            if not LAST <= at < LAST + timedelta(days=4) or limit == 0:
                continue
            after = {"limit": cents, "close": 0}.get(action, limit)
            draws = {"freeze": False, "close": False, "unfreeze": True}.get(action, can_draw)
            if (after, draws) != (limit, can_draw):
                changed = at
                adverse = at if after < limit or action in {"freeze", "close"} else adverse
            limit, can_draw = after, draws
        row = found.iloc[i]
        assert (row["limit_cents"], row["can_draw"], row["closed"]) == (limit, can_draw, limit == 0)
        assert row["changed_at"] == changed or (changed is None and pd.isna(row["changed_at"]))
        assert row["adverse_at"] == adverse or (adverse is None and pd.isna(row["adverse_at"]))
        assert row["pd_ref"] == 0.25 or changed is None


def test_a_new_line_among_old_ones_begins_as_delivered_and_they_go_on_from_their_last_decision() -> None:
    base = default_policy()
    policy = replace(base, holdout=replace(base.holdout, share=0.5, salt="some"))
    names = [*"BNAM", *(f"N{number}" for number in range(40))]
    time = pd.Timestamp(LAST).as_unit("us")
    lines = pd.DataFrame({"account_id": names, "limit_cents": 300, "opened_at": time - pd.Timedelta(days=20)})
    lines = lines.assign(as_of=time).sample(frac=1, random_state=1)
    old = pd.DataFrame({"account_id": list("ABC"), "limit_cents": 50, "opened_at": time, "as_of": time})
    last = first_state(old, np.zeros(3, bool)).add_prefix("state.").assign(account_id=list("ABC"), action="increase")
    last = last.assign(as_of=time - pd.Timedelta(days=10), limit_cents=[100, 200, 400], can_draw=True, pd=0.25)
    orders = pd.DataFrame({"id": [1], "account_id": ["B"], "at": [time - pd.Timedelta(days=4)], "action": "limit"})
    found = states_before(lines, last, orders.assign(limit_cents=700), policy)
    assert found.index.equals(lines.index)
    rows = found.set_index(lines["account_id"])
    new = rows.drop(index=["A", "B"])
    assert (rows.loc["A", "limit_cents"], rows.loc["A", "days_since_change"]) == (100, 10)
    assert (rows.loc["B", "limit_cents"], rows.loc["B", "days_since_change"]) == (700, 4)
    assert (new["limit_cents"] == 300).all()
    assert (new["line_age_days"] == 20).all()
    assert (new["days_since_change"] == NEVER_DAYS).all()
    assert new["holdout"].tolist() == in_holdout(new.index.to_series(), 0.5, "some").tolist()


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"limit_cents": 100, "action": "freeze"}, "and not both"),
        ({}, "needs a limit or one of"),
        ({"action": "unfreeze"}, "it is not frozen"),
        ({"action": "close", "at": LAST}, "choose a later time"),
        ({"limit_cents": 0}, "close the line instead"),
        ({"action": "keep", "reason": " "}, "and a reason"),
        ({"action": "keep", "account_id": "nobody"}, "'nobody' has no decision yet"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(
    order: dict[str, object], message: str, small_workspace: Workspace
) -> None:
    account = small_workspace.ledger.query("SELECT account_id FROM current WHERE can_draw LIMIT 1")["account_id"][0]
    full = {"account_id": account, "at": datetime(2026, 7, 2, tzinfo=UTC), "actor": "Chen Wei", "reason": "r"} | order
    with pytest.raises(WorkspaceError, match=message):
        override(small_workspace, **full)  # type: ignore[arg-type]
    assert small_workspace.ledger.overrides().empty


def test_a_person_changes_a_line_from_the_command_line(behind: Workspace) -> None:
    account = str(behind.ledger.query("SELECT account_id FROM current WHERE can_draw LIMIT 1")["account_id"][0])
    told = ["--by", "Chen Wei", "--reason", "salary slip", "--at", "2026-06-30T12:00", "--workspace", str(behind.root)]
    run = CliRunner().invoke
    shown = run(app, ["ledger", "override", account, "--limit", "54321.09", *told])
    assert shown.output.strip().endswith("→ 54,321.09")
    assert run(app, ["ledger", "override", account, "--limit", "1.005", *told]).exit_code == 2
    listed = run(app, ["ledger", "overrides", "--account", account, "--workspace", str(behind.root)]).output
    assert "54,321.09  by Chen Wei: salary slip" in listed
    assert verify(behind)[0] == len(behind.ledger.runs()) + records_of(behind) + 1


def test_a_closed_line_stays_closed_whatever_a_person_orders(small_workspace: Workspace) -> None:
    decided = unpacked(small_workspace.ledger.table("SELECT * FROM decisions WHERE action = 'close' LIMIT 1"))
    state = next_state(state_before(decided), decided, decided["as_of"])
    order = pd.DataFrame({"at": [pd.Timestamp(LAST)], "action": "limit", "limit_cents": 5})
    after = overridden(state, order, pd.Series([0.5])).iloc[0]
    assert (after["closed"], after["can_draw"], after["limit_cents"]) == (True, False, 0)
