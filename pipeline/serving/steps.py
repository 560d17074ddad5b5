"""Long answers: what is being done is shown as it goes, and the answer below it; nothing runs in the browser."""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from limitlens.data.errors import LimitlensError
from limitlens.data.progress import Progress
from limitlens.pipeline.pages.page import render_in_pieces
from limitlens.pipeline.serving.desk import HEADERS, framed

#: So many long answers are made at a time, and so many wait for them; whoever comes then is asked to come again.
AT_ONCE, IN_ALL = 2, 12

_MADE, _ASKED = BoundedSemaphore(AT_ONCE), BoundedSemaphore(IN_ALL)

#: The page of an explanation has styles of its own in it. Nothing in it runs, either.
_WITH_STYLES = HEADERS["Content-Security-Policy"].replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


class Work:
    """Something that takes seconds, and what is known of it so far.

    Parameters
    ----------
    make : callable of Progress
        Makes the answer.
    """

    def __init__(self, make: Callable[[Progress], Any]) -> None:
        self.make = make
        self.answer: Any = None
        self.problem, self.why = "", "failed"
        self.done = self.abandoned = False

    def steps(self) -> Iterator[str]:
        """Do it, and say each step when it begins; ``done`` afterwards, or ``problem`` or ``why``, a key of words."""
        if not _ASKED.acquire(blocking=False):
            self.why = "busy"
            return
        begun: SimpleQueue[str | None] = SimpleQueue()

        def run() -> None:
            try:
                with _MADE:
                    if not self.abandoned:
                        self.answer, self.done = self.make(begun.put), True
            except LimitlensError as error:
                self.problem = str(error)
            finally:
                _ASKED.release()
                begun.put(None)

        thread = Thread(target=run, daemon=True)
        thread.start()
        try:
            yield from iter(begun.get, None)
        finally:
            self.abandoned = True  # what nobody waits for any more is not begun


def shown_as_it_goes(
    request: Request,
    template: str,
    make: Callable[[Progress], Any],
    status: int = 200,
    *,
    styles: bool = False,
    **context: Any,
) -> Response:
    """A page that is sent piece by piece; its template goes through ``work.steps()`` and then shows ``work.answer``.

    Parameters
    ----------
    request : Request
    template : str
    make : callable of Progress
        Makes the answer.
    status : int
    styles : bool
        The answer has styles of its own.
    **context
        What else the template needs.
    """
    pieces = render_in_pieces(template, framed(request) | context | {"work": Work(make)})
    headers = {"Content-Security-Policy": _WITH_STYLES} if styles else None
    return StreamingResponse(pieces, status, media_type="text/html", headers=headers)
