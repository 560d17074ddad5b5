"""Interceptions: what the watch did, for whoever stops the draw and writes to the customer."""

from collections.abc import Mapping
from typing import Any

from limitlens.features.reasons import reason_text
from limitlens.limits.tick import Tick

_WORDS = {
    "pause": {
        "en": "We have paused cash draws on your line, since there were signs of: {}. Please confirm that it was you.",
        "zh": "我方已暂停您账户的提现，原因：{}。请确认是否为您本人操作。",
    },
    "unfreeze": {"en": "Cash draws on your line are open again.", "zh": "您账户的提现已恢复。"},
}

_BETWEEN = {"en": "; ", "zh": "；"}


def interceptions(tick: Tick) -> list[dict[str, Any]]:
    """What a tick did, one entry a line, as JSON has it.

    Parameters
    ----------
    tick : Tick
        As the ledger has it.

    Returns
    -------
    list of dict
        ``account_id``, ``at``, ``action`` (``pause`` or ``unfreeze``), ``rules``, ``reasons`` (codes), the ``pd`` of
        that moment, and ``message`` to the customer by language. ``account_id`` and ``at`` tell one from another.
    """
    return [_entry(row) for row in tick.decisions.to_pylist() if row["action"] in _WORDS and row["as_of"] == tick.as_of]


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    words = {
        language: text.format(_BETWEEN[language].join(reason_text(code, language) for code in row["reasons"]))
        for language, text in _WORDS[row["action"]].items()
    }
    return {
        "account_id": row["account_id"],
        "at": row["as_of"].isoformat(),
        "action": row["action"],
        "rules": row["fired_rules"],
        "reasons": row["reasons"],
        "pd": row["pd"],
        "message": words,
    }
