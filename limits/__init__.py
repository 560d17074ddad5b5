"""What we do: policy, decision, attribution, ledger."""

from limitlens.limits.attribution import PLAYERS, attribute, but_for, show_cents
from limitlens.limits.decision import decide
from limitlens.limits.groups import split_behaviour
from limitlens.limits.iteration import Iteration
from limitlens.limits.lattice import evaluate
from limitlens.limits.ledger import Ledger
from limitlens.limits.override import Override
from limitlens.limits.policy import ACTIONS, ADVERSE, Policy, parse_policy, read_policy

__all__ = [
    "ACTIONS",
    "ADVERSE",
    "PLAYERS",
    "Iteration",
    "Ledger",
    "Override",
    "Policy",
    "attribute",
    "but_for",
    "decide",
    "evaluate",
    "parse_policy",
    "read_policy",
    "show_cents",
    "split_behaviour",
]
