from .attribution import PLAYERS, attribute, but_for, order_matters, show_cents
from .decision import decide
from .groups import split_behaviour
from .iteration import Iteration
from .lattice import evaluate
from .ledger import Ledger
from .opening import qualify
from .override import Override
from .policy import ACTIONS, ADVERSE, Policy
from .policy_file import parse_policy, read_policy
from .queue import review_queue
from .recourse import Recourse, find_recourse

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
