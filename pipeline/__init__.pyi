from .answers.answer import Answer as Answer
from .answers.report import report as report
from .answers.why import why as why
from .answers.why_card import card as card
from .answers.why_text import render as render
from .check_delivery import check as check
from .deciding.decide import decide as decide
from .deciding.order_override import override as override
from .deciding.reconcile import reconcile as reconcile
from .deciding.replay import replay as replay
from .deciding.score import score as score
from .deciding.verify import verify as verify
from .holds import open_hold as open_hold
from .holds import release_hold as release_hold
from .release.compare import compare as compare
from .release.promote import Override as Override
from .release.promote import promote as promote
from .release.promote import rollback as rollback
from .training.train import train as train
from .workspace import Workspace as Workspace
from .workspace import default_policy as default_policy
from .workspace import default_settings as default_settings

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
