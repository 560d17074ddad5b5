"""What we do: policy, opening, decision, review queue, attribution, ledger."""

from limitlens.limits.attribution import PLAYERS, attribute, but_for, order_matters, show_cents
from limitlens.limits.decision import decide
from limitlens.limits.groups import split_behaviour
from limitlens.limits.iteration import Iteration
from limitlens.limits.lattice import evaluate
from limitlens.limits.ledger import Ledger
from limitlens.limits.opening import qualify
from limitlens.limits.override import Override
from limitlens.limits.policy import ACTIONS, ADVERSE, Policy, parse_policy, read_policy
from limitlens.limits.queue import review_queue
from limitlens.limits.recourse import Recourse, find_recourse

__all__ = [
    "ACTIONS",
    "ADVERSE",
    "PLAYERS",
    "Iteration",
    "Ledger",
    "Override",
    "Policy",
    "Recourse",
    "attribute",
    "but_for",
    "decide",
    "evaluate",
    "find_recourse",
    "order_matters",
    "parse_policy",
    "qualify",
    "read_policy",
    "review_queue",
    "show_cents",
    "split_behaviour",
]
