from .attribution import PLAYERS as PLAYERS
from .attribution import attribute as attribute
from .attribution import but_for as but_for
from .attribution import order_matters as order_matters
from .attribution import show_cents as show_cents
from .decision import decide as decide
from .groups import split_behaviour as split_behaviour
from .iteration import Iteration as Iteration
from .lattice import evaluate as evaluate
from .ledger import Ledger as Ledger
from .opening import qualify as qualify
from .override import Override as Override
from .policy import ACTIONS as ACTIONS
from .policy import ADVERSE as ADVERSE
from .policy import Policy as Policy
from .policy_file import at_once as at_once
from .policy_file import parse_policy as parse_policy
from .policy_file import read_policy as read_policy
from .queue import review_queue as review_queue
from .recourse import Recourse as Recourse
from .recourse import find_recourse as find_recourse

__all__ = [
    "ACTIONS",
    "ADVERSE",
    "PLAYERS",
    "Iteration",
    "Ledger",
    "Override",
    "Policy",
    "Recourse",
    "at_once",
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
