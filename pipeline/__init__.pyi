from .answers.answer import Answer
from .answers.report import report
from .answers.why import why
from .answers.why_card import card
from .answers.why_text import render
from .check_delivery import check
from .deciding.decide import decide
from .deciding.order_override import override
from .deciding.reconcile import reconcile
from .deciding.replay import replay
from .deciding.score import score
from .deciding.verify import verify
from .holds import open_hold, release_hold
from .release.compare import compare
from .release.promote import Override, promote, rollback
from .training.train import train
from .workspace import Workspace, default_policy, default_settings

__all__ = [
    "Answer",
    "Override",
    "Workspace",
    "card",
    "check",
    "compare",
    "decide",
    "default_policy",
    "default_settings",
    "open_hold",
    "override",
    "promote",
    "reconcile",
    "release_hold",
    "render",
    "replay",
    "report",
    "rollback",
    "score",
    "train",
    "verify",
    "why",
]
