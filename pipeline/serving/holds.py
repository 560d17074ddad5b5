"""Pages of the holds, and their release."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from limitlens.data.errors import LimitlensError
from limitlens.data.lock import waiting
from limitlens.data.progress import silent
from limitlens.limits.hold import VERDICTS
from limitlens.pipeline.holds import list_holds, release_hold
from limitlens.pipeline.serving.desk import name_of, page, reading, writing
from limitlens.pipeline.serving.people import may


def holds_page(request: Request) -> Response:
    """Holds in force, and a form to release each."""
    return _holds_page(request)


def _holds_page(request: Request, problem: str = "", status: int = 200) -> Response:
    desk = reading(request)
    writes = may(desk.people, name_of(request), "approver")
    holds = list_holds(desk.workspace)
    return page(request, "desk_holds.html.j2", status, holds=holds, releases=VERDICTS, writes=writes, problem=problem)


async def release(request: Request) -> Response:
    """Release a hold."""
    desk, form = await writing(request, "approver")
    number, verdict, reason = (form.get(key, "") for key in ("hold", "verdict", "reason"))

    def record() -> Response:
        try:
            with waiting(silent):
                release_hold(
                    desk.workspace,
                    int(number) if number.isdecimal() else 0,
                    verdict,
                    at=desk.clock(),
                    actor=name_of(request) or "",
                    reason=reason,
                )
        except LimitlensError as error:
            desk.note(request, "release refused", hold=number, why=str(error))
            return _holds_page(request, str(error), 409)
        desk.note(request, "release", hold=number, verdict=verdict)
        return RedirectResponse("/holds", 303)

    return await run_in_threadpool(record)
