"""Applications: read from a file, decided by the policy, answered in a file for spreadsheets."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from limitlens.data.applications import read_applications
from limitlens.data.errors import InputError
from limitlens.data.spreadsheet import write_csv
from limitlens.limits.opening import qualify
from limitlens.limits.policy import Policy


def answer_applications(path: Path, policy: Policy, out: Path) -> pd.DataFrame:
    """Decide the applications of a file, and write them with their answers as CSV.

    Parameters
    ----------
    path : Path
        As :func:`limitlens.data.applications.read_applications` reads it.
    policy : Policy
    out : Path
        Gets every column as delivered, then ``qualifies``, ``limit_cents`` and ``fired_rules``.

    Returns
    -------
    DataFrame
        The answers, as :func:`limitlens.limits.opening.qualify` gives them.

    Raises
    ------
    InputError
        The file is refused.
    """
    read_by = {condition.column for one in policy.disqualifiers for condition in one.when}
    delivered, typed = read_applications(path, read_by, {*policy.opening, *policy.segments})
    answers = qualify(typed.to_pandas(), policy)
    fired = [" ".join(rules) for rules in answers["fired_rules"]]
    columns = {
        "qualifies": pa.array(answers["qualifies"], pa.bool_()),
        "limit_cents": pa.array(answers["limit_cents"], pa.int64()),
        "fired_rules": pa.array(fired, pa.string()),
    }
    if taken := next((name for name in delivered.column_names if name.lower() in columns), None):
        raise InputError(f"{path}: column '{taken}' has the name of an answer; rename it.")
    for name, values in columns.items():
        delivered = delivered.append_column(name, values)
    write_csv(delivered, out)
    return answers
