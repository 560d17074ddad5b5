"""The desk as a web application: pages over the ledger, and forms for those who may write."""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from math import ceil
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limitlens.data.errors import BusyError, LimitlensError
from limitlens.data.lock import waiting
from limitlens.data.progress import silent
from limitlens.features.reasons import reason_text
from limitlens.limits.cases import QUEUED
from limitlens.limits.hold import VERDICTS as RELEASES
from limitlens.limits.verdict import VERDICT_CODES
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_card import card
from limitlens.pipeline.holds import list_holds, release_hold
from limitlens.pipeline.pages.page import render
from limitlens.pipeline.reviewing.cases import Cases, Sent, dealt, last_run, sent
from limitlens.pipeline.reviewing.judge import judge
from limitlens.pipeline.serving.line import line, minute, search
from limitlens.pipeline.serving.people import Person, Role, may, signed_in
from limitlens.pipeline.serving.throttle import Throttle
from limitlens.pipeline.serving.words import CODES_ZH, LANGUAGES, cause_words, verb, word
from limitlens.pipeline.workspace import Workspace

#: Cases that one page shows.
SHOWN = 100

#: A form is larger only if somebody wants it to be.
_MOST_BYTES = 20_000

#: Hours after which one signs in again.
_SESSION_HOURS = 10

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

#: The page of an explanation is a file that stands alone: its styles are in it. Nothing in it runs, either.
_CARD_POLICY = _HEADERS["Content-Security-Policy"].replace("style-src 'self'", "style-src 'unsafe-inline'")


class _Headers:
    """Adds the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers)


class _RefusedError(Exception):
    """A request that is not carried out: the status, and the key of the words for it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


@dataclass
class Desk:
    """What the pages are made from.

    Parameters
    ----------
    workspace : Workspace
    people : mapping of str to Person
        Who may sign in; empty: everybody reads, and nobody writes.
    clock : callable
        Reads the clock.
    throttle : Throttle
        Wrong keys so far.
    waiting : Sent or None
        What the runs sent, once somebody asked.
    shown : mapping of (head of the ledger, minute, reviewer) to Cases
        What was dealt to whom in this minute.
    """

    workspace: Workspace
    people: Mapping[str, Person]
    clock: Callable[[], datetime]
    throttle: Throttle = field(default_factory=Throttle)
    waiting: Sent | None = None
    shown: Mapping[tuple[str, datetime, str], Cases] = field(default_factory=dict)

    def cases(self, reviewer: str) -> Cases:
        """What waits for a reviewer: looked for once a run, and dealt once a minute and whatever is recorded."""
        key = (self.workspace.ledger.head(), self.clock().replace(second=0, microsecond=0), reviewer)
        if key not in self.shown:
            known = self.waiting
            if known is None or known.run != last_run(self.workspace):
                known = self.waiting = sent(self.workspace)
            cases = dealt(known, self.workspace.ledger.verdicts(), self.clock(), reviewer)
            self.shown = {one: other for one, other in self.shown.items() if one[:2] == key[:2]} | {key: cases}
            return cases
        return self.shown[key]

    def note(self, request: Request, what: str, **more: object) -> None:
        """Write a line of the audit log, ``audit.jsonl`` of the workspace."""
        entry = {"at": self.clock().isoformat(), "from": _address(request), "who": _name(request), "what": what, **more}
        with (self.workspace.root / "audit.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")


def desk_app(
    workspace: Workspace, people: Mapping[str, Person], clock: Callable[[], datetime], hosts: list[str]
) -> Starlette:
    """The application.

    Parameters
    ----------
    workspace : Workspace
    people : mapping of str to Person
        Who may sign in; empty: everybody reads, and nobody writes.
    clock : callable
        Reads the clock.
    hosts : list of str
        Names under which it may be asked for; any other is refused, so that no page elsewhere can reach it by a name
        of its own.
    """
    routes = [
        Route("/", _queue),
        Route("/line", _line),
        Route("/line", _verdict, methods=["POST"]),
        Route("/why", _why),
        Route("/search", _search),
        Route("/holds", _holds),
        Route("/holds", _release, methods=["POST"]),
        Route("/sign-in", _sign_in_page),
        Route("/sign-in", _sign_in, methods=["POST"]),
        Route("/sign-out", _sign_out, methods=["POST"]),
        Route("/language", _language, methods=["POST"]),
        Route("/desk.css", _style),
    ]
    secret = secrets.token_hex(32)  # who was signed in when the server stopped signs in again
    session: dict[str, Any] = {"session_cookie": "limitlens_desk", "same_site": "strict"}
    middleware = [
        Middleware(_Headers),
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
        Middleware(SessionMiddleware, secret_key=secret, max_age=_SESSION_HOURS * 3600, **session),
    ]
    handlers: Any = {404: _missing, 405: _missing, _RefusedError: _refused, LimitlensError: _cannot}
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    app.state.desk = Desk(workspace, people, clock)
    return app


def _queue(request: Request) -> Response:
    desk = _reading(request)
    cases = desk.cases(_name(request) or "")
    later = int((~cases.lines["within_capacity"]).sum())
    return _page(
        request,
        "desk_queue.html.j2",
        lines=cases.lines.head(SHOWN).to_dict("records"),
        counts=(len(cases.lines), cases.policy.reviews.capacity_per_day, later, len(cases.set_aside)),
    )


def _line(request: Request) -> Response:
    return _line_page(request, request.query_params.get("account", ""))


def _line_page(
    request: Request,
    account: str,
    problem: str = "",
    status: int = 200,
    given: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    desk = _reading(request)
    body = line(desk.workspace, account)
    if body is None:
        raise _RefusedError(404, "not_there")
    cases = desk.cases(_name(request) or "")
    own = cases.lines[cases.lines["account_id"] == account].to_dict("records")
    aside = cases.set_aside.loc[cases.set_aside["account_id"] == account, "why"]
    blind = bool(own) and own[0]["state"] == "blind"
    return _page(
        request,
        "desk_line.html.j2",
        status,
        account=account,
        case=own[0] if own else None,
        of=len(cases.lines),
        aside=aside.iloc[0] if len(aside) else "",
        verdict_codes=VERDICT_CODES,
        problem=problem,
        given=given,
        writes=may(desk.people, _name(request), "reviewer") and bool(own),
        **(body | ({"verdicts": []} if blind else {})),
    )


async def _verdict(request: Request) -> Response:
    desk, form = await _writing(request, "reviewer")
    account, name = form.get("account", ""), _name(request) or ""
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
                    limit_cents=_cents(form.get("limit", "")) if order == "limit" else None,
                    seen=_moment(form.get("seen", "")),
                )
        except LimitlensError as error:
            desk.note(request, "verdict refused", account=account, why=str(error))
            return _line_page(request, account, str(error), 409, form)
        desk.note(request, "verdict", account=account, verdict=verdict)
        request.session["flash"] = [account, verdict]
        return RedirectResponse("/", 303)

    return await run_in_threadpool(record)


def _why(request: Request) -> Response:
    desk, account = _reading(request), request.query_params.get("account", "")
    page = card(why(desk.workspace, account, _moment(request.query_params.get("as_of", ""))))
    return HTMLResponse(page, headers={"Content-Security-Policy": _CARD_POLICY})


def _search(request: Request) -> Response:
    desk, begins = _reading(request), request.query_params.get("account", "").strip()
    matches = search(desk.workspace, begins) if begins else []
    if len(matches) == 1:
        return RedirectResponse(_address_of(matches[0]["account_id"]), 303)
    return _page(request, "desk_search.html.j2", matches=matches, begins=begins)


def _holds(request: Request) -> Response:
    return _holds_page(request)


def _holds_page(request: Request, problem: str = "", status: int = 200) -> Response:
    desk = _reading(request)
    writes = may(desk.people, _name(request), "approver")
    holds = list_holds(desk.workspace)
    return _page(request, "desk_holds.html.j2", status, holds=holds, releases=RELEASES, writes=writes, problem=problem)


async def _release(request: Request) -> Response:
    desk, form = await _writing(request, "approver")
    number, verdict, reason = (form.get(key, "") for key in ("hold", "verdict", "reason"))

    def record() -> Response:
        try:
            with waiting(silent):
                release_hold(
                    desk.workspace,
                    int(number) if number.isdecimal() else 0,
                    verdict,
                    at=desk.clock(),
                    actor=_name(request) or "",
                    reason=reason,
                )
        except LimitlensError as error:
            desk.note(request, "release refused", hold=number, why=str(error))
            return _holds_page(request, str(error), 409)
        desk.note(request, "release", hold=number, verdict=verdict)
        return RedirectResponse("/holds", 303)

    return await run_in_threadpool(record)


def _sign_in_page(request: Request) -> Response:
    return _page(request, "desk_sign_in.html.j2", problem="")


async def _sign_in(request: Request) -> Response:
    desk, form = request.app.state.desk, await _form(request)
    address, now = _address(request), desk.clock()
    wait = ceil(desk.throttle.waits(address, now).total_seconds())
    if wait:
        desk.note(request, "sign-in put off", seconds=wait)
        problem = word("wait", _lang(request), wait)
        answer = _page(request, "desk_sign_in.html.j2", 429, problem=problem)
        answer.headers["Retry-After"] = str(wait)
        return answer
    name = signed_in(desk.people, form.get("key", ""))
    if name is None:
        desk.throttle = desk.throttle.after_wrong(address, now)
        desk.note(request, "sign-in refused")
        return _page(request, "desk_sign_in.html.j2", 403, problem=word("wrong_key", _lang(request)))
    desk.throttle = desk.throttle.after_right(address)
    language = _lang(request)
    request.session.clear()
    request.session.update(name=name, lang=language, csrf=secrets.token_urlsafe(24))
    desk.note(request, "sign-in")
    return RedirectResponse("/", 303)


async def _sign_out(request: Request) -> Response:
    await _form(request)
    request.session.clear()
    return RedirectResponse("/sign-in", 303)


async def _language(request: Request) -> Response:
    await _form(request)
    request.session["lang"] = LANGUAGES[1 - LANGUAGES.index(_lang(request))]
    return RedirectResponse("/", 303)


def _style(_: Request) -> Response:
    text = (files("limitlens.pipeline.pages") / "templates" / "desk.css").read_text(encoding="utf-8")
    return Response(text, media_type="text/css")


def _missing(request: Request, _: Exception) -> Response:
    return _page(request, "desk_problem.html.j2", 404, problem=word("not_there", _lang(request)))


def _refused(request: Request, error: Exception) -> Response:
    status, key = (error.status, error.why) if isinstance(error, _RefusedError) else (500, "not_there")
    if status == 401:
        return RedirectResponse("/sign-in", 303)
    return _page(request, "desk_problem.html.j2", status, problem=word(key, _lang(request)))


def _cannot(request: Request, error: Exception) -> Response:
    return _page(request, "desk_problem.html.j2", 503 if isinstance(error, BusyError) else 409, problem=str(error))


def _reading(request: Request) -> Desk:
    """The desk, for somebody who may read."""
    desk: Desk = request.app.state.desk
    if desk.people and _name(request) is None:
        raise _RefusedError(401, "not_allowed")
    return desk


async def _writing(request: Request, role: Role) -> tuple[Desk, dict[str, str]]:
    """The desk and the form, for somebody who may write."""
    desk, form = _reading(request), await _form(request)
    if not may(desk.people, _name(request), role):
        desk.note(request, "refused", path=request.url.path)
        raise _RefusedError(403, "not_allowed")
    return desk, form


async def _form(request: Request) -> dict[str, str]:
    """Fields of a form that this desk made for this session: each comes with the token of the session."""
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > _MOST_BYTES:
            raise _RefusedError(413, "forged")
    try:
        fields = parse_qs(raw.decode(), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise _RefusedError(400, "forged") from None
    form = {key: values[-1] for key, values in fields.items()}
    token = request.session.get("csrf", "")
    if not token or not secrets.compare_digest(form.pop("csrf", "").encode(), token.encode()):
        request.app.state.desk.note(request, "form refused", path=request.url.path)
        raise _RefusedError(403, "forged")
    return form


def _page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    desk, language = request.app.state.desk, _lang(request)
    request.session.setdefault("csrf", secrets.token_urlsafe(24))
    body = render(
        template,
        {
            "t": lambda key, *values: word(key, language, *values),
            "verb": lambda action: verb(action, language),
            "code": lambda code, english: CODES_ZH[code] if language == "zh" else english,
            "cause": lambda moment: cause_words(moment, language),
            "reason": lambda code: reason_text(code, language),
            "address_of": _address_of,
            "minute": minute,
            "lang": "zh-CN" if language == "zh" else "en",
            "who": _name(request),
            "role": desk.people[_name(request)].role if _name(request) in desk.people else "",
            "open_to_all": not desk.people,
            "csrf": request.session["csrf"],
            "flash": request.session.pop("flash", None),
            "queued": QUEUED,
            **context,
        },
    )
    return HTMLResponse(body, status)


def _address_of(account: str) -> str:
    return f"/line?account={quote(account, safe='')}"


def _lang(request: Request) -> str:
    chosen = request.session.get("lang")
    if chosen in LANGUAGES:
        return str(chosen)
    return "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"


def _name(request: Request) -> str | None:
    """Who is signed in; nobody once the name is off the list."""
    name = request.session.get("name")
    return name if name in request.app.state.desk.people else None


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _moment(text: str) -> datetime | None:
    """A time out of an address or a form; None where there is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _cents(text: str) -> int | None:
    try:
        amount = Decimal(text.replace(",", "")) * 100
    except InvalidOperation:
        return None
    whole = amount.is_finite() and amount == amount.to_integral_value() and abs(amount) < 1 << 62
    return int(amount) if whole else None
