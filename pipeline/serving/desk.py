"""The desk: what every page is made from, who may see and send what, and the page itself."""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, quote

import pandas as pd
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from limitlens.data.pseudonyms import IdKey
from limitlens.features.reasons import reason_text
from limitlens.limits.rates import Rate
from limitlens.pipeline.answers.false_positives import FalsePositives, false_positives
from limitlens.pipeline.pages.page import render
from limitlens.pipeline.reviewing.cases import Cases, Sent, dealt, last_run, sent, settled_like
from limitlens.pipeline.serving.day import Day, day
from limitlens.pipeline.serving.line import minute
from limitlens.pipeline.serving.people import Person, Role, may
from limitlens.pipeline.serving.throttle import Throttle
from limitlens.pipeline.serving.words import CODES_ZH, LANGUAGES, cause_words, complaint, known, rate_words, verb, word
from limitlens.pipeline.workspace import Workspace

#: A form is larger only if somebody wants it to be.
_MOST_BYTES = 20_000


#: So long what was dealt to a reviewer stands, unless something is recorded.
DEALT_MINUTES = 10

#: Of every answer.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class RefusedError(Exception):
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
    id_key : IdKey or None
        Finds the pseudonym of an id that is searched for; None: none is at hand.
    throttle : Throttle
        Wrong keys so far.
    waiting : Sent or None
        What the runs sent, once somebody asked.
    shown : mapping of (head of the ledger, time, reviewer) to Cases
        What was dealt to whom since then.
    figures : Day or None
        Those of the last run, once somebody asked.
    measured : (str, int, FalsePositives) or None
        The false positives as of a head of the ledger and a number of loads, once somebody asked.
    dealing, counting, measuring : Lock
        Held by whoever deals, counts or measures; what ten ask for at once is made once.
    """

    workspace: Workspace
    people: Mapping[str, Person]
    clock: Callable[[], datetime]
    id_key: IdKey | None = None
    throttle: Throttle = field(default_factory=Throttle)
    waiting: Sent | None = None
    shown: Mapping[tuple[str, datetime, str], Cases] = field(default_factory=dict)
    figures: Day | None = None
    measured: tuple[str, int, FalsePositives] | None = None
    dealing: Lock = field(default_factory=Lock)
    counting: Lock = field(default_factory=Lock)
    measuring: Lock = field(default_factory=Lock)

    def cases(self, reviewer: str) -> Cases:
        """What waits for a reviewer: looked for once a run, dealt anew every ten minutes and whatever is recorded."""
        now = self.clock()
        lately = now.replace(minute=now.minute // DEALT_MINUTES * DEALT_MINUTES, second=0, microsecond=0)
        key = (self.workspace.ledger.head(), lately, reviewer)
        with self.dealing:
            if key not in self.shown:
                known = self.waiting
                if known is None or known.run != last_run(self.workspace):
                    known = self.waiting = sent(self.workspace)
                cases = dealt(known, self.workspace.ledger.verdicts(), self.clock(), reviewer)
                self.shown = {one: other for one, other in self.shown.items() if one[:2] == key[:2]} | {key: cases}
            return self.shown[key]

    def similar(self, account_id: str, cases: Cases) -> pd.DataFrame:
        """Settled cases most like that of an account, but those that whoever asks is to judge without knowing how."""
        known, verdicts = self.waiting, self.workspace.ledger.verdicts()
        unseen = cases.lines.loc[cases.lines["state"] == "blind", "account_id"]
        if known is None:
            return pd.DataFrame()
        return settled_like(known, verdicts[~verdicts["account_id"].isin(unseen)], account_id)

    def day(self) -> Day:
        """Figures of the last run, counted once a run."""
        run = last_run(self.workspace)
        with self.counting:
            if self.figures is None or self.figures.run != run:
                self.figures = day(self.workspace, run)
            return self.figures

    def false_positives(self) -> FalsePositives:
        """The false positives, measured anew whatever is recorded or delivered."""
        now = self.workspace.ledger.head(), len(self.workspace.events.loads())
        with self.measuring:
            if self.measured is None or self.measured[:2] != now:
                self.measured = *now, false_positives(self.workspace)
            return self.measured[2]

    def note(self, request: Request, what: str, **more: object) -> None:
        """Write a line of the audit log, ``audit.jsonl`` of the workspace."""
        entry = {
            "at": self.clock().isoformat(),
            "from": address_of(request),
            "who": name_of(request),
            "what": what,
            **more,
        }
        with (self.workspace.root / "audit.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")


def reading(request: Request) -> Desk:
    """The desk, for somebody who may read."""
    desk: Desk = request.app.state.desk
    if desk.people and name_of(request) is None:
        raise RefusedError(401, "not_allowed")
    return desk


async def writing(request: Request, role: Role) -> tuple[Desk, dict[str, str]]:
    """The desk and the form, for somebody who may write."""
    desk, form = reading(request), await form_of(request)
    if not may(desk.people, name_of(request), role):
        desk.note(request, "refused", path=request.url.path)
        raise RefusedError(403, "not_allowed")
    return desk, form


async def form_of(request: Request) -> dict[str, str]:
    """Fields of a form that this desk made for this session: each comes with the token of the session."""
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > _MOST_BYTES:
            raise RefusedError(413, "forged")
    try:
        fields = parse_qs(raw.decode(), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise RefusedError(400, "forged") from None
    form = {key: values[-1] for key, values in fields.items()}
    token = request.session.get("csrf", "")
    if not token or not secrets.compare_digest(form.pop("csrf", "").encode(), token.encode()):
        request.app.state.desk.note(request, "form refused", path=request.url.path)
        raise RefusedError(403, "forged")
    return form


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """A page from a template, in the language of whoever asks."""
    return HTMLResponse(render(template, framed(request) | context), status)


def framed(request: Request) -> dict[str, Any]:
    """What every page needs besides its own."""
    desk, language = request.app.state.desk, language_of(request)
    request.session.setdefault("csrf", secrets.token_urlsafe(24))
    return {
        "t": lambda key, *values: word(key, language, *values),
        "verb": lambda action: verb(action, language),
        "code": lambda code, english: CODES_ZH[code] if language == "zh" else english,
        "cause": lambda moment: cause_words(moment, language),
        "reason": lambda code: reason_text(code, language),
        "complaint": lambda what: complaint(what, language),
        "rate": lambda rate: rate_words(rate, language),
        "share": lambda count, of: rate_words(Rate(count, of), language),
        "known": lambda text: known(text, language),
        "address_of": line_address,
        "minute": minute,
        "lang": "zh-CN" if language == "zh" else "en",
        "who": name_of(request),
        "open_to_all": not desk.people,
        "csrf": request.session["csrf"],
        "flash": request.session.pop("flash", None),
    }


def line_address(account: str) -> str:
    """Where the page of a line is."""
    return f"/line?account={quote(account, safe='')}"


def language_of(request: Request) -> str:
    """The language that was chosen, or that the browser asks for."""
    chosen = request.session.get("lang")
    if chosen in LANGUAGES:
        return str(chosen)
    return "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"


def name_of(request: Request) -> str | None:
    """Who is signed in; nobody once the name is off the list."""
    name = request.session.get("name")
    return name if name in request.app.state.desk.people else None


def address_of(request: Request) -> str:
    """The machine that asks."""
    return request.client.host if request.client else ""


def moment_of(text: str) -> datetime | None:
    """A time out of an address or a form; None where there is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def cents_of(text: str) -> int | None:
    """An amount out of a form, in cents; None where it is none."""
    try:
        amount = Decimal(text.replace(",", "")) * 100
    except InvalidOperation:
        return None
    whole = amount.is_finite() and amount == amount.to_integral_value() and abs(amount) < 1 << 62
    return int(amount) if whole else None
