"""Signing in and out, and the language."""

import secrets
from math import ceil

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from limitlens.pipeline.serving.desk import address_of, form_of, language_of, page
from limitlens.pipeline.serving.people import signed_in
from limitlens.pipeline.serving.words import LANGUAGES, word


def sign_in_page(request: Request) -> Response:
    """A form for the key."""
    return page(request, "desk_sign_in.html.j2", problem="")


async def sign_in(request: Request) -> Response:
    """Let somebody in whose key it is; whoever tries keys waits longer each time."""
    desk, form = request.app.state.desk, await form_of(request)
    address, now = address_of(request), desk.clock()
    wait = ceil(desk.throttle.waits(address, now).total_seconds())
    if wait:
        desk.note(request, "sign-in put off", seconds=wait)
        problem = word("wait", language_of(request), wait)
        answer = page(request, "desk_sign_in.html.j2", 429, problem=problem)
        answer.headers["Retry-After"] = str(wait)
        return answer
    name = signed_in(desk.people, form.get("key", ""))
    if name is None:
        desk.throttle = desk.throttle.after_wrong(address, now)
        desk.note(request, "sign-in refused")
        return page(request, "desk_sign_in.html.j2", 403, problem=word("wrong_key", language_of(request)))
    desk.throttle = desk.throttle.after_right(address)
    language = language_of(request)
    request.session.clear()
    request.session.update(name=name, lang=language, csrf=secrets.token_urlsafe(24))
    desk.note(request, "sign-in")
    return RedirectResponse("/", 303)


async def sign_out(request: Request) -> Response:
    """Forget who was signed in."""
    await form_of(request)
    request.session.clear()
    return RedirectResponse("/sign-in", 303)


async def change_language(request: Request) -> Response:
    """Go on in the other language."""
    await form_of(request)
    request.session["lang"] = LANGUAGES[1 - LANGUAGES.index(language_of(request))]
    return RedirectResponse("/", 303)
