"""The page of the features, written from the declarations.

``python -m limitlens.features.feature_page > docs/features.md`` brings it up to date.
"""

import sys
from itertools import groupby

from limitlens.features.catalogue import CATALOGUE
from limitlens.features.listing import Listed, listed, row_sets

_INTRODUCTION = """# Features

{count} features of an account at an as-of time, and {shares} that also need its limit or age. Each is a declaration in
`features/consumption.py`, `features/payment.py`, `features/device.py`, `features/shared_risk.py` or, across
sources, `features/catalogue.py`;
the SQL, the training table, the model input, the reason codes and this page follow from it
([how to add one](how-to/add-a-feature.md), [what each is worth](feature-value.md)). `limitlens features` lists them,
`limitlens features --sql` prints the query.

**Which rows count.** Of every event the latest version known strictly before `known_by` (normally the as-of time),
unless it is withdrawn. A window of W days holds the rows with `as_of − W days ≤ event_time < as_of`; a day is 24 hours,
nights (before six) and weekends are local time. Over no rows a count, a sum or a number of distinct values is 0, all
else is null.

**Direction.** `+`: default risk may only rise with it, `−`: only fall (a monotone constraint of the model).

**Silence.** What becomes of a feature when its rows stop coming for longer than its window: `0`, as if nothing had been
done; `null`, not known; `stays`, with what was known last (an average goes to it; what was never known stays null);
`grows` with every day. A 0 that comes from silence looks safer where the direction is `+`, and riskier where it is `−`;
no feature tells a customer at rest from a feed that stopped. That is what [holds](data-quality.md) are for: a source or
slice that falls silent, a status that used to come every month and does not, and a row in the quarantine keep the line
as it is.

## What the rows are

| rows | one row is |
|---|---|
{rows}
"""


def feature_page() -> str:
    """Text of ``docs/features.md``.

    Examples
    --------
    >>> feature_page().splitlines()[0]
    '# Features'
    """
    rows = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in row_sets(CATALOGUE).items())
    head = _INTRODUCTION.format(count=len(CATALOGUE.columns), shares=len(CATALOGUE.shares), rows=rows)
    entries = sorted(listed(CATALOGUE), key=lambda one: (_ORDER.index(one.source), _LAYERS.index(one.layer)))
    sections = [
        _section(source, layer, list(together))
        for (source, layer), together in groupby(entries, key=lambda one: (one.source, one.layer))
    ]
    return "\n".join([head, *sections])


_SIGNS = {1: "+", 0: "", -1: "−"}
_ORDER = ("consumption", "payment", "device", "shared_risk")
_LAYERS = ("event", "day", "week", "month", "account", "device", "network")


def _section(source: str, layer: str, entries: list[Listed]) -> str:
    lines = [
        f"| `{one.name}` | {one.measures} | {one.unit} | {one.why} | {_SIGNS[one.monotone]} | {one.silence} "
        f"| {one.reason} |"
        for one in entries
    ]
    head = ["| feature | measures | unit | why | direction | silence | reason |", "|---|---|---|---|---|---|---|"]
    return "\n".join([f"## {source.capitalize().replace('_', ' ')}: {layer}\n", *head, *lines, ""])


if __name__ == "__main__":
    sys.stdout.write(feature_page())
