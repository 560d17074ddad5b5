"""The tables of the ledger and the views over them."""

import pyarrow as pa

from limitlens.limits.attribution import PLAYERS
from limitlens.limits.state import STATE_TYPE

TIME = pa.timestamp("us", tz="UTC")

#: ``holds`` names the holds that touched the line, null where none did. Then the line was decided with the features as
#: known, with those that read held rows as before the fault, and so with all that was overdue then paid. ``spared_by``
#: names the protections that kept ``spared_action`` from being done, null where nothing was spared.
DECISIONS = pa.schema(
    [
        ("account_id", pa.string()),
        ("as_of", TIME),
        ("action", pa.string()),
        ("limit_before_cents", pa.int64()),
        ("limit_cents", pa.int64()),
        ("can_draw", pa.bool_()),
        ("pd", pa.float64()),
        ("fired_rules", pa.list_(pa.string())),
        ("reasons", pa.list_(pa.string())),
        ("state", STATE_TYPE),
        ("run_id", pa.string()),
        ("model_version", pa.string()),
        ("policy_digest", pa.string()),
        ("holds", pa.list_(pa.int64())),
        ("as_known_action", pa.string()),
        ("as_known_limit_cents", pa.int64()),
        ("before_fault_action", pa.string()),
        ("before_fault_limit_cents", pa.int64()),
        ("if_paid_action", pa.string()),
        ("if_paid_limit_cents", pa.int64()),
        ("spared_by", pa.list_(pa.string())),
        ("spared_action", pa.string()),
        ("spared_limit_cents", pa.int64()),
    ]
)

#: Columns that files of earlier versions lack, as nulls, by table.
LATER_COLUMNS = {
    "decisions": "NULL::BIGINT[] AS holds, NULL::VARCHAR AS as_known_action, NULL::BIGINT AS as_known_limit_cents, "
    "NULL::VARCHAR AS before_fault_action, NULL::BIGINT AS before_fault_limit_cents, "
    "NULL::VARCHAR AS if_paid_action, NULL::BIGINT AS if_paid_limit_cents, "
    "NULL::VARCHAR[] AS spared_by, NULL::VARCHAR AS spared_action, NULL::BIGINT AS spared_limit_cents",
    "attributions": "NULL::VARCHAR AS account_id",
}

ATTRIBUTIONS = pa.schema(
    [
        ("account_id", pa.string()),
        ("as_of", TIME),
        ("revision", pa.int64()),
        ("status", pa.string()),
        ("previous_as_of", TIME),
        ("known_by", TIME),
        *((f"phi_{player}", pa.int64()) for player in PLAYERS),
        *((f"share_cents_{player}", pa.int64()) for player in PLAYERS),
        *((f"severity_phi_{player}", pa.int64()) for player in PLAYERS),
        *((f"necessary_{player}", pa.bool_()) for player in PLAYERS),
        *((f"sufficient_{player}", pa.bool_()) for player in PLAYERS),
        ("order_matters", pa.bool_()),
    ]
)


RUNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("as_of", TIME),
        ("model_version", pa.string()),
        ("model_digest", pa.string()),
        ("policy_digest", pa.string()),
        ("backtest", pa.bool_()),
        ("head", pa.string()),
        ("mlflow_run_id", pa.string()),
    ]
)

#: What persons ordered. A ``restore`` makes the decision as of ``restores`` good, which suffered from ``hold``: the
#: line is as it was before it, with the columns after these; they are null for every other action.
OVERRIDES = pa.schema(
    [
        ("id", pa.int64()),
        ("account_id", pa.string()),
        ("at", TIME),
        ("action", pa.string()),
        ("limit_before_cents", pa.int64()),
        ("limit_cents", pa.int64()),
        ("actor", pa.string()),
        ("reason", pa.string()),
        ("restores", TIME),
        ("hold", pa.int64()),
        ("can_draw", pa.bool_()),
        ("pd_ref", pa.float64()),
        ("changed_at", TIME),
        ("adverse_at", TIME),
    ]
)

#: A hold with its release; ``verdict`` and what follows are null while it is in force.
HOLDS = pa.schema(
    [
        ("hold", pa.int64()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("slice_column", pa.string()),
        ("slice_value", pa.string()),
        ("fault", pa.string()),
        ("since", TIME),
        ("opened_at", TIME),
        ("actor", pa.string()),
        ("reason", pa.string()),
        ("verdict", pa.string()),
        ("released_at", TIME),
        ("released_by", pa.string()),
        ("release_reason", pa.string()),
    ]
)

#: What reviewers said; ``override`` is the order of :data:`OVERRIDES` that went with it, null where none did.
VERDICTS = pa.schema(
    [
        ("verdict_no", pa.int64()),
        ("account_id", pa.string()),
        ("since", TIME),
        ("as_of", TIME),
        ("at", TIME),
        ("verdict", pa.string()),
        ("code", pa.string()),
        ("words", pa.string()),
        ("actor", pa.string()),
        ("action", pa.string()),
        ("limit_cents", pa.int64()),
        ("needed", pa.int64()),
        ("blind", pa.bool_()),
        ("settles", pa.bool_()),
        ("override", pa.int64()),
    ]
)

REVISIONS = pa.schema(
    [
        ("run_id", pa.string()),
        ("known_by", TIME),
        ("known_rows", pa.int64()),
        ("late_rows", pa.int64()),
        ("head", pa.string()),
        ("mlflow_run_id", pa.string()),
    ]
)

#: Every decision with its latest attribution, over the relations of the ledger.
CURRENT = """
SELECT decision.*, attribution.* EXCLUDE (account_id, as_of)
FROM decisions AS decision LEFT JOIN (
    SELECT * FROM attributions QUALIFY ROW_NUMBER() OVER (PARTITION BY account_id, as_of ORDER BY revision DESC) = 1
) AS attribution USING (account_id, as_of)
"""

#: Since the opening of each line, up to each decision: the limit it was opened or taken over with, what the first
#: decision changed, what persons ordered, and what each player has a share in. They sum to the limit.
SINCE_OPENING = f"""
SELECT account_id, as_of, FIRST_VALUE(limit_before_cents) OVER so_far AS opening_limit_cents,
    (SUM(limit_cents - limit_before_cents) FILTER (phi_state IS NULL) OVER so_far)::BIGINT
        AS since_cents_first_decision,
    (SUM(limit_before_cents - COALESCE(left_cents, limit_before_cents)) OVER so_far)::BIGINT AS since_cents_overrides,
    {", ".join(f"COALESCE(SUM(share_cents_{p}) OVER so_far, 0)::BIGINT AS since_cents_{p}" for p in PLAYERS)},
    limit_cents
FROM (SELECT *, LAG(limit_cents) OVER (PARTITION BY account_id ORDER BY as_of) AS left_cents FROM current)
WINDOW so_far AS (PARTITION BY account_id ORDER BY as_of ROWS UNBOUNDED PRECEDING)
"""
