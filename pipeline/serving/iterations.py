"""Pages of the iterations: what each changed and moved, and the gate that the next one passes."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from limitlens.data.errors import LimitlensError
from limitlens.data.lock import waiting
from limitlens.data.progress import Progress, silent
from limitlens.limits.finding import recorded_findings
from limitlens.limits.signed import signable
from limitlens.pipeline.release.compare import Compared, compare
from limitlens.pipeline.release.iterations import iteration_named, iterations_of
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.release.sign_off import judging, missing_sign_off
from limitlens.pipeline.serving.desk import name_of, page, reading, writing
from limitlens.pipeline.serving.people import may
from limitlens.pipeline.serving.steps import shown_as_it_goes


def iterations_page(request: Request) -> Response:
    """Every version, the newest first."""
    desk = reading(request)
    return page(request, "desk_iterations.html.j2", iterations=iterations_of(desk.workspace)[::-1])


def gate_page(request: Request) -> Response:
    """What a version would move beside the champion, shown as it is found, and a form to promote it."""
    return _gate_page(request, request.query_params.get("version", ""))


def _gate_page(request: Request, version: str, problem: str = "", status: int = 200, reason: str = "") -> Response:
    desk = reading(request)
    row = iteration_named(desk.workspace, version)
    champion = desk.workspace.registry.champion()

    def compared(progress: Progress) -> Compared | None:
        if champion in (None, row.model_version):
            return None
        return compare(desk.workspace, champion, row.model_version, progress=progress)

    model = desk.workspace.registry.model(row.model_version)
    asks = judging(desk.workspace, row.model_version).sign_off
    promotable = row.status not in ("champion", "withdrawn")
    return shown_as_it_goes(
        request,
        "desk_gate.html.j2",
        compared,
        status,
        iteration=row,
        champion=champion,
        findings=[one for _, one in recorded_findings(desk.workspace.validation(row.model_version))],
        signs=signable(desk.workspace.root, model),
        sign_offs=list(desk.workspace.registry.sign_offs(row.model_version).values()),
        asks=asks,
        missing=missing_sign_off(desk.workspace, model) if asks else "",
        writes=promotable and may(desk.people, name_of(request), "approver"),
        problem=problem,
        given=reason,
    )


async def promote_version(request: Request) -> Response:
    """Make a version the champion, or say on the page of the gate why not."""
    desk, form = await writing(request, "approver")
    version, reason, name = form.get("version", ""), form.get("reason", "").strip(), name_of(request) or ""
    override = Override(name, reason) if form.get("anyway") else None

    def record() -> Response:
        try:
            if not reason:
                raise LimitlensError("a promotion needs a reason.")
            with waiting(silent):
                promoted, kind = promote(desk.workspace, name, desk.clock(), version, reason=reason, override=override)
        except LimitlensError as error:
            desk.note(request, "promotion refused", version=version, why=str(error))
            return _gate_page(request, version, str(error), 409, reason)
        desk.note(request, "promotion", version=promoted, kind=kind)
        request.session["flash"] = ["promoted", promoted, kind]
        return RedirectResponse("/iterations", 303)

    return await run_in_threadpool(record)
