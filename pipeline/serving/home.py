"""The home page: the figures of the day, and where to go on."""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from limitlens.data.incident import scope_text
from limitlens.pipeline.serving.day import COMPLAINT_DAYS
from limitlens.pipeline.serving.desk import name_of, page, reading


def home_page(request: Request) -> Response:
    """What was decided last, what moved it, what is held, what waits, and what customers complain of."""
    desk = reading(request)
    day, cases = desk.day(), desk.cases(name_of(request) or "")
    holds = desk.workspace.ledger.holds_in_force()
    latest = desk.clock() - timedelta(days=cases.policy.holding.decide_within_days)
    largest = max((abs(cents) for sides in day.causes.values() for cents in sides), default=0) or 1
    return page(
        request,
        "desk_home.html.j2",
        day=day,
        cases=cases,
        largest=largest,
        holds=holds,
        overdue={number: scope_text(hold.scope) for number, hold in holds.items() if hold.opened_at < latest},
        complaint_days=COMPLAINT_DAYS,
    )
