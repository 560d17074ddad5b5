-- The sixty features of benchmarks/features.py as people write them by hand, for DuckDB: one query, every window
-- written out. $as_of is the as-of time, up to which rows are known as well.
WITH fixed_c AS (SELECT DISTINCT event_no FROM consumption WHERE correction),
visible_c AS (
    SELECT account_id, event_time, kind, amount_cents, category
    FROM consumption ANTI JOIN fixed_c USING (event_no) WHERE known_time < $as_of AND NOT COALESCE(retracted, FALSE)
    UNION ALL
    SELECT account_id, event_time, kind, amount_cents, category FROM (
        SELECT * FROM consumption SEMI JOIN fixed_c USING (event_no) WHERE known_time < $as_of
        QUALIFY ROW_NUMBER() OVER (PARTITION BY event_no ORDER BY known_time DESC, delivered_known_time DESC) = 1
    ) WHERE NOT COALESCE(retracted, FALSE)
),
fixed_p AS (SELECT DISTINCT event_no FROM payment WHERE correction),
visible_p AS (
    SELECT account_id, event_time, event_no, event_id, kind, amount_cents, instalment_id, dpd_days
    FROM payment ANTI JOIN fixed_p USING (event_no) WHERE known_time < $as_of AND NOT COALESCE(retracted, FALSE)
    UNION ALL
    SELECT account_id, event_time, event_no, event_id, kind, amount_cents, instalment_id, dpd_days FROM (
        SELECT * FROM payment SEMI JOIN fixed_p USING (event_no) WHERE known_time < $as_of
        QUALIFY ROW_NUMBER() OVER (PARTITION BY event_no ORDER BY known_time DESC, delivered_known_time DESC) = 1
    ) WHERE NOT COALESCE(retracted, FALSE)
),
fixed_d AS (SELECT DISTINCT event_no FROM device WHERE correction),
visible_d AS (
    SELECT account_id, event_time, event_no, kind, device_id, city
    FROM device ANTI JOIN fixed_d USING (event_no) WHERE known_time < $as_of AND NOT COALESCE(retracted, FALSE)
    UNION ALL
    SELECT account_id, event_time, event_no, kind, device_id, city FROM (
        SELECT * FROM device SEMI JOIN fixed_d USING (event_no) WHERE known_time < $as_of
        QUALIFY ROW_NUMBER() OVER (PARTITION BY event_no ORDER BY known_time DESC, delivered_known_time DESC) = 1
    ) WHERE NOT COALESCE(retracted, FALSE)
),
spend AS (
    SELECT account_id,
        COUNT(*) FILTER (drawn AND event_time >= $as_of - INTERVAL 1 DAY) AS draw_count_1d,
        COUNT(*) FILTER (drawn AND event_time >= $as_of - INTERVAL 2 DAY) AS draw_count_2d,
        COUNT(*) FILTER (drawn AND event_time >= $as_of - INTERVAL 7 DAY) AS draw_count_7d,
        COUNT(*) FILTER (drawn AND event_time >= $as_of - INTERVAL 30 DAY) AS draw_count_30d,
        COUNT(*) FILTER (drawn AND event_time >= $as_of - INTERVAL 90 DAY) AS draw_count_90d,
        SUM(amount_cents) FILTER (drawn AND event_time >= $as_of - INTERVAL 2 DAY) AS draw_sum_2d,
        SUM(amount_cents) FILTER (drawn AND event_time >= $as_of - INTERVAL 7 DAY) AS draw_sum_7d,
        SUM(amount_cents) FILTER (drawn AND event_time >= $as_of - INTERVAL 30 DAY) AS draw_sum_30d,
        SUM(amount_cents) FILTER (drawn AND event_time >= $as_of - INTERVAL 90 DAY) AS draw_sum_90d,
        MAX(amount_cents) FILTER (drawn AND event_time >= $as_of - INTERVAL 30 DAY) AS draw_max_30d,
        MAX(amount_cents) FILTER (drawn AND event_time >= $as_of - INTERVAL 90 DAY) AS draw_max_90d,
        MAX(event_time) FILTER (drawn) AS last_draw,
        COUNT(*) FILTER (
            drawn AND event_time >= $as_of - INTERVAL 30 DAY AND EXTRACT(HOUR FROM event_time) < 6
        ) AS night_draw_count_30d,
        COUNT(*) FILTER (bought AND event_time >= $as_of - INTERVAL 7 DAY) AS purchase_count_7d,
        COUNT(*) FILTER (bought AND event_time >= $as_of - INTERVAL 30 DAY) AS purchase_count_30d,
        COUNT(*) FILTER (bought AND event_time >= $as_of - INTERVAL 90 DAY) AS purchase_count_90d,
        SUM(amount_cents) FILTER (bought AND event_time >= $as_of - INTERVAL 7 DAY) AS purchase_sum_7d,
        SUM(amount_cents) FILTER (bought AND event_time >= $as_of - INTERVAL 30 DAY) AS purchase_sum_30d,
        SUM(amount_cents) FILTER (bought AND event_time >= $as_of - INTERVAL 90 DAY) AS purchase_sum_90d,
        SUM(amount_cents) FILTER (bought AND event_time >= $as_of - INTERVAL 180 DAY) AS purchase_sum_180d,
        MAX(amount_cents) FILTER (bought AND event_time >= $as_of - INTERVAL 30 DAY) AS purchase_max_30d,
        SUM(amount_cents) FILTER (kind = 'refund' AND event_time >= $as_of - INTERVAL 90 DAY) AS refund_sum_90d,
        SUM(amount_cents) FILTER (kind = 'fee' AND event_time >= $as_of - INTERVAL 90 DAY) AS fee_sum_90d,
        SUM(CASE WHEN kind = 'refund' THEN -amount_cents ELSE amount_cents END) AS spent_cents
    FROM (SELECT *, kind = 'draw' AS drawn, kind = 'purchase' AS bought FROM visible_c WHERE event_time < $as_of)
    GROUP BY account_id
),
breadth AS (
    SELECT account_id, COUNT(*) FILTER (last_time >= $as_of - INTERVAL 30 DAY) AS category_distinct_30d,
        COUNT(*) AS category_distinct_90d
    FROM (
        SELECT account_id, category, MAX(event_time) AS last_time FROM visible_c
        WHERE kind = 'purchase' AND category IS NOT NULL
            AND event_time >= $as_of - INTERVAL 90 DAY AND event_time < $as_of GROUP BY ALL
    ) GROUP BY account_id
),
paid AS (
    SELECT account_id,
        COUNT(*) FILTER (kind = 'due' AND event_time >= $as_of - INTERVAL 90 DAY) AS due_count_90d,
        SUM(amount_cents) FILTER (kind = 'due' AND event_time >= $as_of - INTERVAL 90 DAY) AS due_sum_90d,
        COUNT(*) FILTER (repaid AND event_time >= $as_of - INTERVAL 30 DAY) AS repayment_count_30d,
        COUNT(*) FILTER (repaid AND event_time >= $as_of - INTERVAL 90 DAY) AS repayment_count_90d,
        SUM(amount_cents) FILTER (repaid AND event_time >= $as_of - INTERVAL 30 DAY) AS repayment_sum_30d,
        SUM(amount_cents) FILTER (repaid AND event_time >= $as_of - INTERVAL 90 DAY) AS repayment_sum_90d,
        SUM(amount_cents) FILTER (repaid AND event_time >= $as_of - INTERVAL 180 DAY) AS repayment_sum_180d,
        MAX(event_time) FILTER (repaid) AS last_repayment,
        SUM(amount_cents) FILTER (repaid) AS repaid_cents,
        COUNT(*) FILTER (kind = 'transfer_in' AND event_time >= $as_of - INTERVAL 30 DAY) AS transfer_in_count_30d,
        SUM(amount_cents) FILTER (kind = 'transfer_in' AND event_time >= $as_of - INTERVAL 30 DAY)
            AS transfer_in_sum_30d,
        SUM(amount_cents) FILTER (kind = 'transfer_in' AND event_time >= $as_of - INTERVAL 90 DAY)
            AS transfer_in_sum_90d,
        COUNT(*) FILTER (sent AND event_time >= $as_of - INTERVAL 2 DAY) AS transfer_out_count_2d,
        SUM(amount_cents) FILTER (sent AND event_time >= $as_of - INTERVAL 2 DAY) AS transfer_out_sum_2d,
        SUM(amount_cents) FILTER (sent AND event_time >= $as_of - INTERVAL 7 DAY) AS transfer_out_sum_7d,
        SUM(amount_cents) FILTER (sent AND event_time >= $as_of - INTERVAL 30 DAY) AS transfer_out_sum_30d
    FROM (
        SELECT *, kind = 'repayment' AS repaid, kind = 'transfer_out' AS sent FROM visible_p WHERE event_time < $as_of
    ) GROUP BY account_id
),
instalments AS (
    SELECT account_id, COALESCE(instalment_id, CASE WHEN kind = 'due' THEN event_id END) AS instalment,
        MIN(event_time) FILTER (kind = 'due') AS due_time, SUM(amount_cents) FILTER (kind = 'due') AS due,
        COALESCE(SUM(amount_cents) FILTER (kind = 'repayment'), 0) AS paid,
        MAX(event_time) FILTER (kind = 'repayment' AND amount_cents > 0) AS paid_time
    FROM visible_p WHERE kind = 'due' OR kind = 'repayment' AND event_time < $as_of GROUP BY ALL
),
credit AS (
    SELECT account_id, SUM(paid - COALESCE(due, 0)) AS credit FROM instalments
    WHERE due IS NULL OR paid > due GROUP BY account_id
),
unpaid AS (
    SELECT account_id, instalment, due_time,
        SUM(due - paid) OVER (PARTITION BY account_id ORDER BY due_time, instalment) - COALESCE(credit, 0) AS past_due
    FROM instalments LEFT JOIN credit USING (account_id) WHERE due_time < $as_of AND paid < due
),
missed AS (SELECT * FROM unpaid WHERE past_due > 0),
arrears AS (
    SELECT account_id, MIN(due_time) AS oldest, MAX(past_due) AS past_due_cents FROM missed GROUP BY account_id
),
delivered AS (
    SELECT account_id, ARG_MAX(dpd_days, (event_time, event_no)) AS delivered_dpd_days FROM visible_p
    WHERE kind = 'status' AND dpd_days IS NOT NULL AND event_time < $as_of GROUP BY account_id
),
overpaid AS (SELECT account_id, instalment, due FROM instalments WHERE paid > due OR due = 0),
reached AS (
    SELECT account_id, instalment, MIN(event_time) AS reached_time FROM (
        SELECT account_id, instalment, event_time, due, SUM(amount_cents)
            OVER (PARTITION BY account_id, instalment ORDER BY event_time, event_no) AS so_far
        FROM (SELECT *, instalment_id AS instalment FROM visible_p) JOIN overpaid USING (account_id, instalment)
        WHERE kind = 'repayment' AND event_time < $as_of
    ) WHERE so_far >= due GROUP BY ALL
),
settled AS (
    SELECT account_id, due_time, CASE WHEN paid >= due THEN COALESCE(reached_time, paid_time) END AS settled_time,
        missed.instalment IS NOT NULL AS open
    FROM instalments LEFT JOIN missed USING (account_id, instalment, due_time)
    LEFT JOIN reached USING (account_id, instalment) WHERE due IS NOT NULL
),
placed AS (
    SELECT account_id, open, FLOOR((EPOCH_US(settled_time) - EPOCH_US(due_time)) / 86400e6) AS late,
        LEAST(settled_time, due_time) AS placed_time
    FROM settled WHERE LEAST(settled_time, due_time) < $as_of
        AND LEAST(settled_time, due_time) >= $as_of - INTERVAL 180 DAY
),
delays AS (
    SELECT account_id,
        COUNT(*) FILTER (NOT open AND late > 0 AND placed_time >= $as_of - INTERVAL 90 DAY) AS late_count_90d,
        COUNT(*) FILTER (NOT open AND late > 0) AS late_count_180d,
        COUNT(*) FILTER (NOT open AND COALESCE(late, 0) <= 0) AS met_count_180d,
        AVG(late) AS lateness_mean_180d, MAX(late) AS lateness_max_180d
    FROM placed GROUP BY account_id
),
seen AS (
    SELECT account_id, COUNT(*) FILTER (event_time >= $as_of - INTERVAL 7 DAY) AS device_event_count_7d,
        COUNT(*) AS device_event_count_30d, COUNT(*) FILTER (kind = 'login_failed') AS failed_login_count_30d,
        COUNT(DISTINCT city) AS city_distinct_30d
    FROM visible_d WHERE event_time >= $as_of - INTERVAL 30 DAY AND event_time < $as_of GROUP BY account_id
),
first_seen AS (SELECT account_id, MIN(event_time) AS first FROM visible_d WHERE event_time < $as_of GROUP BY account_id),
devices AS (
    SELECT account_id, COUNT(*) FILTER (last_time >= $as_of - INTERVAL 7 DAY) AS device_distinct_7d,
        COUNT(*) FILTER (last_time >= $as_of - INTERVAL 30 DAY) AS device_distinct_30d,
        COUNT(*) FILTER (last_time >= $as_of - INTERVAL 90 DAY) AS device_distinct_90d,
        COUNT(*) FILTER (first_time >= $as_of - INTERVAL 30 DAY AND first_time > first) AS new_device_count_30d
    FROM (
        SELECT account_id, device_id, MIN(event_time) AS first_time, MAX(event_time) AS last_time
        FROM visible_d WHERE event_time < $as_of AND device_id IS NOT NULL GROUP BY ALL
    ) JOIN first_seen USING (account_id) GROUP BY account_id
),
switches AS (
    SELECT account_id, COUNT(*) FILTER (event_time >= $as_of - INTERVAL 7 DAY) AS device_switch_count_7d,
        COUNT(*) AS device_switch_count_30d
    FROM (
        SELECT account_id, event_time, device_id, LAG(device_id) OVER in_order AS before_id,
            LAG(event_time) OVER in_order AS before_time
        FROM visible_d WHERE event_time < $as_of AND event_time >= $as_of - INTERVAL 120 DAY
        WINDOW in_order AS (PARTITION BY account_id ORDER BY event_time, event_no)
    )
    WHERE event_time >= $as_of - INTERVAL 30 DAY AND before_id <> device_id
        AND before_time >= event_time - INTERVAL 90 DAY
    GROUP BY account_id
)
SELECT account_id,
    COALESCE(COLUMNS('(_count|_sum|_distinct)_\d+d|past_due_cents'), 0),
    draw_max_30d, draw_max_90d, purchase_max_30d, lateness_mean_180d, lateness_max_180d,
    draw_sum_30d / NULLIF(draw_count_30d, 0) AS draw_mean_30d, draw_sum_90d / NULLIF(draw_count_90d, 0) AS draw_mean_90d,
    (EPOCH_US($as_of) - EPOCH_US(last_draw)) / 86400e6 AS draw_days_since_ever,
    (EPOCH_US($as_of) - EPOCH_US(last_repayment)) / 86400e6 AS repayment_days_since_ever,
    COALESCE(spent_cents, 0) - COALESCE(repaid_cents, 0) AS balance_cents,
    COALESCE(delivered_dpd_days, FLOOR((EPOCH_US($as_of) - EPOCH_US(oldest)) / 86400e6), 0) AS dpd_days
FROM (SELECT DISTINCT account_id FROM accounts WHERE known_time < $as_of) LEFT JOIN spend USING (account_id)
LEFT JOIN breadth USING (account_id) LEFT JOIN paid USING (account_id) LEFT JOIN arrears USING (account_id)
LEFT JOIN delivered USING (account_id) LEFT JOIN delays USING (account_id) LEFT JOIN seen USING (account_id)
LEFT JOIN devices USING (account_id) LEFT JOIN switches USING (account_id) ORDER BY account_id
