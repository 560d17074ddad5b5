"""Exchanges with other lenders on record: who asked whom when, about how many, and the digests of the messages."""

from dataclasses import astuple, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Literal

from limitlens.data.errors import WorkspaceError
from limitlens.limits.chain import Cell, count_links, last_head, next_head
from limitlens.limits.database import connect, reading


@dataclass(frozen=True)
class Exchange:
    """One step of an exchange, as this lender took it.

    Parameters
    ----------
    exchange : str
        Number of the exchange.
    lender : str
        The other one.
    step : {"asked", "answered", "received"}
    at : datetime
    actor : str
        Who did it.
    ids : int
        Customers asked about.
    listed : int
        Ids of the risk list; 0 while it is not known.
    hits : int
        Customers that stand on it; 0 where only the other lender knows.
    sha256 : str
        Of the message that was made, or received.
    """

    exchange: str
    lender: str
    step: Literal["asked", "answered", "received"]
    at: datetime
    actor: str
    ids: int
    listed: int
    hits: int
    sha256: str


def exchanges(workspace: Path) -> list[Exchange]:
    """Every step on record, in order."""
    names = [field.name for field in fields(Exchange)]
    with reading(workspace) as connection:
        rows = connection.execute(f"SELECT {', '.join(names)} FROM exchanges ORDER BY step_no").fetchall()
    steps = (dict(zip(names, row, strict=True)) for row in rows)
    return [Exchange(**{**step, "at": datetime.fromisoformat(step["at"])}) for step in steps]


def record_exchange(workspace: Path, step: Exchange) -> None:
    """Make a step a link of the chain.

    Raises
    ------
    WorkspaceError
        The step of this exchange is on record.
    """
    with connect(workspace) as connection:
        same = "SELECT 1 FROM exchanges WHERE exchange = ? AND step = ?"
        if connection.execute(same, [step.exchange, step.step]).fetchone():
            raise WorkspaceError(f"exchange {step.exchange[:12]} was {step.step} already; begin a new one.")
        (number,) = connection.execute("SELECT COALESCE(MAX(step_no), 0) + 1 FROM exchanges").fetchone()
        named = [cell.isoformat() if isinstance(cell, datetime) else cell for cell in astuple(step)]
        cells: list[Cell] = [number, *named, count_links(connection)]
        head = next_head(last_head(connection), ["exchange", *cells])
        connection.execute("INSERT INTO exchanges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [*cells, head])
