"""History: the decisions of the ledger, chosen by who, when, why and by what; listed or handed on."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa

from limitlens.data.errors import ConfigError
from limitlens.data.spreadsheet import write_csv
from limitlens.data.storage import write_parquet
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.policy import ACTIONS
from limitlens.pipeline.workspace import Workspace

#: What a part of a selection asks of a decision.
_CONDITIONS = {
    "account_id": "account_id = $account_id",
    "since": "as_of >= $since",
    "until": "as_of < $until",
    "run_id": "starts_with(run_id, $run_id)",
    "action": "action = $action",
    "model_version": "model_version = $model_version",
}
_LISTED = (
    "as_of", "account_id", "action", "limit_before_cents", "limit_cents", "can_draw",
    *(f"share_cents_{player}" for player in PLAYERS), "model_version", "run_id",
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """Which decisions; None stands for all.

    Parameters
    ----------
    account_id, model_version : str, optional
    since, until : datetime, optional
        ``since <= as_of < until``.
    cause : str, optional
        A player whose share is not zero.
    run_id : str, optional
        How the id begins.
    action : str, optional
    """

    account_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    cause: str | None = None
    run_id: str | None = None
    action: str | None = None
    model_version: str | None = None

    def condition(self) -> tuple[str, dict[str, object]]:
        """SQL over the columns of ``current``, and the values of its parameters.

        Raises
        ------
        ConfigError
            There is no such cause or action.
        """
        for name, value, known in (("cause", self.cause, PLAYERS), ("action", self.action, ACTIONS)):
            if value is not None and value not in known:
                raise ConfigError(f"no {name} is called {value!r}; expected one of {list(known)}.")
        given = {name: value for name in _CONDITIONS if (value := getattr(self, name)) is not None}
        parts = ["TRUE", *map(_CONDITIONS.__getitem__, given), *([f"phi_{self.cause} <> 0"] if self.cause else [])]
        return " AND ".join(parts), given


def decisions_of(workspace: Workspace, selection: Selection, limit: int) -> pd.DataFrame:
    """The latest chosen decisions, newest first, with the shares of their causes.

    Parameters
    ----------
    workspace : Workspace
    selection : Selection
    limit : int
        At most so many.

    Returns
    -------
    DataFrame
        Shares are nullable integers: null at a first decision.

    Raises
    ------
    ConfigError
        There is no such cause or action.
    WorkspaceError
        Nothing has been decided yet.
    """
    condition, values = selection.condition()
    sql = f"""
    SELECT {", ".join(_LISTED)} FROM current WHERE {condition}
    ORDER BY as_of DESC, account_id LIMIT {limit}
    """
    latest: pd.DataFrame = workspace.ledger.table(sql, values).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return latest


def export(workspace: Workspace, out: Path) -> int:
    """Write every decision with its latest attribution and the facts of its run; return the number of rows.

    Parameters
    ----------
    workspace : Workspace
    out : Path
        A name that ends in ``.parquet`` or ``.csv``.

    Raises
    ------
    ConfigError
        Another ending.
    WorkspaceError
        Nothing has been decided yet, or the disk is full.
    """
    writers = {".parquet": write_parquet, ".csv": write_csv}
    if out.suffix not in writers:
        raise ConfigError(f"{out}: expected a name that ends in .parquet or .csv.")
    table = workspace.ledger.table(
        "SELECT current.*, runs.model_digest, runs.backtest, runs.mlflow_run_id "
        "FROM current JOIN runs USING (run_id) ORDER BY account_id, current.as_of"
    )
    writers[out.suffix](table, out)
    return len(table)
