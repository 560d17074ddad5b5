"""The page of false positives: good customers that were flagged, by slice, and the largest of them."""

from starlette.requests import Request
from starlette.responses import Response

from limitlens.data.progress import Progress
from limitlens.pipeline.answers.false_positives import SLICES, FalsePositives
from limitlens.pipeline.answers.report_tables import hit
from limitlens.pipeline.serving.desk import reading
from limitlens.pipeline.serving.steps import shown_as_it_goes

#: Good customers that one page shows.
SHOWN = 50


def false_positives_page(request: Request) -> Response:
    """Measured on the holdout and counted among the lines acted on, by slice; the good customers that were hit."""
    desk = reading(request)

    def measured(progress: Progress) -> tuple[FalsePositives, list[dict[object, object]]]:
        progress("what became of the lines that were flagged")
        counted = desk.false_positives()
        return counted, hit(counted).head(SHOWN).to_dict("records")

    return shown_as_it_goes(request, "desk_false_positives.html.j2", measured, slices=SLICES)
