"""The split: equal to an enumeration of the 120 orders, exact in integers, its flags as defined."""

from fractions import Fraction
from itertools import permutations, product
from math import floor
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limitlens.data.errors import IntegrityError
from limitlens.limits.attribution import (
    LATTICE,
    PLAYERS,
    attribute,
    behaviour_contexts,
    but_for,
    order_matters,
    show_cents,
)
from limitlens.limits.entries import attribution_entries
from limitlens.limits.lattice import Lattice, check_recorded
from limitlens.limits.policy import ACTIONS

Values = npt.NDArray[np.int64]

LIMITS = st.integers(0, 10**13)


def lattices(elements: st.SearchStrategy[int] = LIMITS) -> st.SearchStrategy[Values]:
    return st.integers(1, 4).flatmap(lambda n: hnp.arrays(np.int64, (n, *LATTICE), elements=elements))


@st.composite
def moved_by_some(draw: st.DrawFn) -> Values:
    """Lattices that differ along some axes only: mostly one or two things have moved a limit, and no order matters."""
    shape = [size if draw(st.booleans()) else 1 for size in LATTICE]
    return np.broadcast_to(draw(hnp.arrays(np.int64, (2, *shape), elements=st.integers(0, 3))), (2, *LATTICE))


def walk(values: Values, order: tuple[str, ...]) -> dict[str, int]:
    """Shares of one waterfall."""
    shares, done = dict.fromkeys(PLAYERS, 0), set()
    before = values[0, 0, 0, 0]
    for step in order:
        done.add(step)
        legs = len(done & {"data 1", "behaviour", "data 2"})
        after = values[legs, int("model" in done), int("policy" in done), int("state" in done)]
        shares[step.split()[0]] += int(after) - int(before)
        before = after
    return shares


def leading(shares: dict[str, int]) -> str:
    """Who has the largest share either way, the earlier player on ties."""
    return max(PLAYERS, key=lambda player: abs(shares[player])) if any(shares.values()) else "nobody"


def walks(values: Values) -> list[dict[str, int]]:
    """Shares of every waterfall: six labelled steps in each order that keeps the legs in theirs."""
    steps = ("data 1", "behaviour", "data 2", "model", "policy", "state")
    orders = [o for o in permutations(steps) if o.index("data 1") < o.index("behaviour") < o.index("data 2")]
    assert len(orders) == 120
    return [walk(values, order) for order in orders]


def enumerate_orders(values: Values) -> list[int]:
    """Shapley under precedence, by walking every order."""
    return [sum(shares[player] for shares in walks(values)) for player in PLAYERS]


def test_behaviour_moves_once_in_every_order_under_what_stands_before_it() -> None:
    """Of the three others those behind it in an order are old: the walks of one lattice that tells them apart."""
    contexts, moves = behaviour_contexts(), np.zeros((2, 2, 2), np.int64)
    for m, p, s in product((0, 1), (0, 1), (0, 1)):
        values = np.zeros(LATTICE, np.int64)
        values[2:, m, p, s] = 1
        moves[m, p, s] = sum(shares["behaviour"] for shares in walks(values))
    assert contexts.tolist() == moves.tolist()
    assert contexts.sum() == 120


@pytest.mark.slow
@given(lattices())
def test_shares_equal_the_enumeration_of_all_120_orders(values: Values) -> None:
    assert attribute(values).tolist() == [enumerate_orders(one) for one in values]


@given(moved_by_some())
def test_the_order_matters_where_two_waterfalls_name_different_players(values: Values) -> None:
    for one, found in zip(values, order_matters(values), strict=True):
        named = {
            max(PLAYERS, key=lambda player: abs(shares[player])) if any(shares.values()) else "nobody"
            for shares in walks(one)
        }
        assert found == (len(named) > 1)


@given(hnp.arrays(np.int8, (3, *LATTICE), elements=st.integers(0, 7)))
def test_steps_of_severity_sum_to_120_times_the_step_between_the_actions(action: npt.NDArray[np.int8]) -> None:
    times = dict.fromkeys(("as_of", "previous_as_of", "known_by"), pd.Timestamp("2026-07-01", tz="UTC"))
    changes = pd.DataFrame({"account_id": ["A", "B", "C"], "limit_before_cents": 0}).assign(**times)
    entries = attribution_entries(Lattice(np.zeros(action.shape, np.int64), action), changes)
    steps = entries[[f"severity_phi_{player}" for player in PLAYERS]].sum(axis=1)
    assert (steps == 120 * (action[:, 3, 1, 1, 1].astype(int) - action[:, 0, 0, 0, 0])).all()


@given(lattices(st.integers(0, 9)), st.randoms(use_true_random=True))
def test_outcomes_are_equal_where_action_and_limit_are(limit: Values, random: Any) -> None:
    codes = [random.randrange(len(ACTIONS)) for _ in limit.flat]
    outcome = Lattice(limit, np.array(codes, np.int8).reshape(limit.shape)).outcome
    assert len(set(outcome.flat)) == len({*zip(limit.flat, codes, strict=True)})


@pytest.mark.parametrize(("when", "recorded"), [("old", ([5, 6], [7, 7])), ("new", ([5, 5], [7, 8]))])
def test_a_lattice_whose_ends_are_not_the_recorded_limits_is_refused(when: str, recorded: list[list[int]]) -> None:
    limit = np.zeros((2, *LATTICE), np.int64)
    limit[:, 0, 0, 0, 0], limit[:, 3, 1, 1, 1] = 5, 7
    lattice, names = Lattice(limit, np.zeros(limit.shape, np.int8)), pd.Series(["A1", "A2"])
    check_recorded(lattice, names, np.array([5, 5]), np.array([7, 7]))
    with pytest.raises(IntegrityError, match=f"account A2: the {when} limit is recorded as .*; 1 of 2 entries refused"):
        check_recorded(lattice, names, *map(np.array, recorded))


def test_a_freeze_that_moves_no_cent_has_flags_and_steps_but_no_shares() -> None:
    """The new model alone or the new policy alone freezes: flags look at the action too, shares at the limit only."""
    keep, freeze = ACTIONS.index("keep"), ACTIONS.index("freeze")
    limit, action = np.full((1, *LATTICE), 500), np.full((1, *LATTICE), freeze, np.int8)
    action[:, :, 0, 0] = keep
    times = dict.fromkeys(("as_of", "previous_as_of", "known_by"), pd.Timestamp("2026-07-01", tz="UTC"))
    changes = pd.DataFrame({"account_id": ["A"], "limit_before_cents": 500}).assign(**times)
    (entry,) = attribution_entries(Lattice(limit, action), changes).to_dict("records")
    assert {player for player in PLAYERS if entry[f"sufficient_{player}"]} == {"model", "policy"}
    assert not any(entry[f"necessary_{player}"] for player in PLAYERS)
    assert entry["severity_phi_model"] == entry["severity_phi_policy"] == 60 * (freeze - keep)
    assert not any(entry[f"{kind}_{player}"] for kind in ("phi", "share_cents") for player in PLAYERS)
    assert not entry["order_matters"]
    assert (entry["revision"], entry["status"]) == (0, "provisional")


@given(lattices())
def test_shares_sum_to_120_times_the_change_exactly(values: Values) -> None:
    change = values[:, 3, 1, 1, 1] - values[:, 0, 0, 0, 0]
    assert (attribute(values).sum(axis=1) == 120 * change).all()


@given(lattices())
def test_shown_cents_sum_to_the_change_and_stay_within_a_cent_of_the_share(values: Values) -> None:
    phi = attribute(values)
    cents = show_cents(phi)
    assert (cents.sum(axis=1) == values[:, 3, 1, 1, 1] - values[:, 0, 0, 0, 0]).all()
    assert (np.abs(cents * 120 - phi) < 120).all()


@given(hnp.arrays(np.int64, (1, 5), elements=st.integers(-500, 500)))
def test_the_largest_remainders_get_one_cent_more_and_ties_go_to_the_earlier_player(phi: npt.NDArray[np.int64]) -> None:
    phi[0, 4] -= phi.sum() % 120
    parts = [Fraction(int(part), 120) for part in phi[0]]
    cents = [floor(part) for part in parts]
    while sum(cents) < sum(parts):
        cents[max(range(5), key=lambda at: (parts[at] - cents[at], -at))] += 1
    assert show_cents(phi)[0].tolist() == cents


@given(lattices())
def test_a_player_that_changes_nothing_gets_nothing(values: Values) -> None:
    values[:, :, 1] = values[:, :, 0]
    assert (attribute(values)[:, PLAYERS.index("model")] == 0).all()


def test_a_conjunction_of_model_and_a_fault_splits_by_the_side_the_fault_is_on() -> None:
    """A drop that needs the new model and faulty data: 1:3 for a fault at t0, 3:1 for one at t1."""
    at_t0, at_t1 = np.zeros((2, 1, *LATTICE), np.int64)
    at_t0[:, 1:, 1] = 1_200
    at_t1[:, 3:, 1] = 1_200
    data, model = PLAYERS.index("data"), PLAYERS.index("model")
    assert (attribute(at_t0)[0, [data, model]] // 120).tolist() == [300, 900]
    assert (attribute(at_t1)[0, [data, model]] // 120).tolist() == [900, 300]


@given(lattices(st.integers(0, 2)))
def test_but_for_flags_compare_the_outcomes_they_are_defined_by(outcome: Values) -> None:
    flags = but_for(outcome).iloc[0]
    one = outcome[0]
    assert flags["necessary_behaviour"] == (one[1, 1, 1, 1] != one[2, 1, 1, 1])
    assert flags["necessary_data"] == (one[0, 1, 1, 1] != one[1, 1, 1, 1] or one[2, 1, 1, 1] != one[3, 1, 1, 1])
    assert flags["necessary_model"] == (one[3, 0, 1, 1] != one[3, 1, 1, 1])
    assert flags["necessary_policy"] == (one[3, 1, 0, 1] != one[3, 1, 1, 1])
    assert flags["necessary_state"] == (one[3, 1, 1, 0] != one[3, 1, 1, 1])
    assert flags["sufficient_behaviour"] == (one[1, 0, 0, 0] != one[2, 0, 0, 0])
    assert flags["sufficient_data"] == (one[0, 0, 0, 0] != one[1, 0, 0, 0] or one[2, 0, 0, 0] != one[3, 0, 0, 0])
    assert flags["sufficient_model"] == (one[0, 1, 0, 0] != one[0, 0, 0, 0])
    assert flags["sufficient_policy"] == (one[0, 0, 1, 0] != one[0, 0, 0, 0])
    assert flags["sufficient_state"] == (one[0, 0, 0, 1] != one[0, 0, 0, 0])
