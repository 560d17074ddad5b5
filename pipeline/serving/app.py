"""The desk as a web application: its addresses, the headers of every answer, and what becomes of errors."""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limitlens.data.errors import BusyError, LimitlensError
from limitlens.data.pseudonyms import IdKey
from limitlens.pipeline.serving.access import change_language, sign_in, sign_in_page, sign_out
from limitlens.pipeline.serving.cases import line_page, queue_page, record_verdict, search_page, why_page
from limitlens.pipeline.serving.desk import HEADERS, Desk, RefusedError, language_of, page
from limitlens.pipeline.serving.false_positives import false_positives_page
from limitlens.pipeline.serving.holds import holds_page, release
from limitlens.pipeline.serving.home import home_page
from limitlens.pipeline.serving.iterations import gate_page, iterations_page, promote_version
from limitlens.pipeline.serving.people import Person
from limitlens.pipeline.serving.words import word
from limitlens.pipeline.workspace import Workspace

#: Hours after which one signs in again.
_SESSION_HOURS = 10


class _Headers:
    """Adds the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers)


def desk_app(
    workspace: Workspace,
    people: Mapping[str, Person],
    clock: Callable[[], datetime],
    hosts: list[str],
    *,
    id_key: IdKey | None = None,
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
    id_key : IdKey, optional
        Finds the pseudonym of an id that is searched for.
    """
    routes = [
        Route("/", home_page),
        Route("/cases", queue_page),
        Route("/line", line_page),
        Route("/line", record_verdict, methods=["POST"]),
        Route("/why", why_page),
        Route("/search", search_page),
        Route("/holds", holds_page),
        Route("/holds", release, methods=["POST"]),
        Route("/false-positives", false_positives_page),
        Route("/iterations", iterations_page),
        Route("/gate", gate_page),
        Route("/gate", promote_version, methods=["POST"]),
        Route("/sign-in", sign_in_page),
        Route("/sign-in", sign_in, methods=["POST"]),
        Route("/sign-out", sign_out, methods=["POST"]),
        Route("/language", change_language, methods=["POST"]),
        Route("/desk.css", _style),
    ]
    secret = secrets.token_hex(32)  # who was signed in when the server stopped signs in again
    session: dict[str, Any] = {"session_cookie": "limitlens_desk", "same_site": "strict"}
    middleware = [
        Middleware(_Headers),
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
        Middleware(SessionMiddleware, secret_key=secret, max_age=_SESSION_HOURS * 3600, **session),
    ]
    handlers: Any = {404: _missing, 405: _missing, RefusedError: _refused, LimitlensError: _cannot}
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    app.state.desk = Desk(workspace, people, clock, id_key=id_key)
    return app


def _style(_: Request) -> Response:
    text = (files("limitlens.pipeline.pages") / "templates" / "desk.css").read_text(encoding="utf-8")
    return Response(text, media_type="text/css")


def _missing(request: Request, _: Exception) -> Response:
    return page(request, "desk_problem.html.j2", 404, problem=word("not_there", language_of(request)))


def _refused(request: Request, error: Exception) -> Response:
    status, key = (error.status, error.why) if isinstance(error, RefusedError) else (500, "not_there")
    if status == 401:
        return RedirectResponse("/sign-in", 303)
    return page(request, "desk_problem.html.j2", status, problem=word(key, language_of(request)))


def _cannot(request: Request, error: Exception) -> Response:
    return page(request, "desk_problem.html.j2", 503 if isinstance(error, BusyError) else 409, problem=str(error))
