"""Pages of the cases: the queue, a line, the verdict on it, its explanation, and the search for it."""

from collections.abc import Mapping
from types import MappingProxyType

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from limitlens.data.errors import LimitlensError
from limitlens.data.lock import waiting
from limitlens.data.progress import Progress, silent
from limitlens.limits.verdict import VERDICT_CODES
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_card import card_body
from limitlens.pipeline.reviewing.judge import judge
from limitlens.pipeline.serving.desk import (
    RefusedError,
    cents_of,
    language_of,
    line_address,
    moment_of,
    name_of,
    page,
    reading,
    writing,
)
from limitlens.pipeline.serving.line import line, search
from limitlens.pipeline.serving.people import may
from limitlens.pipeline.serving.steps import shown_as_it_goes

#: Cases that one page shows.
SHOWN = 100


def queue_page(request: Request) -> Response:
    """The cases that wait, in the order of the policy."""
    desk = reading(request)
    cases = desk.cases(name_of(request) or "")
    later = int((~cases.lines["within_capacity"]).sum())
    return page(
        request,
        "desk_queue.html.j2",
        lines=cases.lines.head(SHOWN).to_dict("records"),
        counts=(len(cases.lines), cases.policy.reviews.capacity_per_day, later, len(cases.set_aside)),
    )


def line_page(request: Request) -> Response:
    """A line, and a form for the verdict where one is wanted."""
    return _line_page(request, request.query_params.get("account", ""))


def _line_page(
    request: Request,
    account: str,
    problem: str = "",
    status: int = 200,
    given: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    desk = reading(request)
    body = line(desk.workspace, account)
    if body is None:
        raise RefusedError(404, "not_there")
    cases = desk.cases(name_of(request) or "")
    own = cases.lines[cases.lines["account_id"] == account].to_dict("records")
    aside = cases.set_aside.loc[cases.set_aside["account_id"] == account, "why"]
    blind = bool(own) and own[0]["state"] == "blind"
    return page(
        request,
        "desk_line.html.j2",
        status,
        account=account,
        case=own[0] if own else None,
        of=len(cases.lines),
        aside=aside.iloc[0] if len(aside) else "",
        alike=desk.similar(account, cases).to_dict("records"),
        verdict_codes=VERDICT_CODES,
        problem=problem,
        given=given,
        writes=may(desk.people, name_of(request), "reviewer") and bool(own),
        **(body | ({"verdicts": []} if blind else {})),
    )


async def record_verdict(request: Request) -> Response:
    """Record a verdict, or say on the page of the line why not."""
    desk, form = await writing(request, "reviewer")
    account, name = form.get("account", ""), name_of(request) or ""
    verdict, _, code = form.get("code", "").partition(":")
    order = form.get("order", "")

    def record() -> Response:
        try:
            with waiting(silent):
                judge(
                    desk.workspace,
                    account,
                    verdict,
                    code,
                    form.get("words", ""),
                    actor=name,
                    at=desk.clock(),
                    action=order,
                    limit_cents=cents_of(form.get("limit", "")) if order == "limit" else None,
                    seen=moment_of(form.get("seen", "")),
                )
        except LimitlensError as error:
            desk.note(request, "verdict refused", account=account, why=str(error))
            return _line_page(request, account, str(error), 409, form)
        desk.note(request, "verdict", account=account, verdict=verdict)
        request.session["flash"] = ["recorded", account, verdict]
        return RedirectResponse("/cases", 303)

    return await run_in_threadpool(record)


def why_page(request: Request) -> Response:
    """The explanation of a decision, after it has been replayed; what is being done is shown as it goes."""
    desk, account = reading(request), request.query_params.get("account", "")
    as_of, language = moment_of(request.query_params.get("as_of", "")), language_of(request)

    def explained(progress: Progress) -> str:
        return card_body(why(desk.workspace, account, as_of, progress=progress), language)

    return shown_as_it_goes(request, "desk_why.html.j2", explained, styles=True, account=account)


def search_page(request: Request) -> Response:
    """Accounts whose id begins so, or the one whose pseudonym that is; the line itself where there is one only."""
    desk, begins = reading(request), request.query_params.get("account", "").strip()
    matches = search(desk.workspace, begins) if begins else []
    if begins and not matches and desk.id_key:
        matches = search(desk.workspace, desk.id_key.pseudonym("account", begins))
    if len(matches) == 1:
        return RedirectResponse(line_address(matches[0]["account_id"]), 303)
    return page(request, "desk_search.html.j2", matches=matches, begins=begins)
