"""How long false and true positives take to be compared at equal PD: ``python -m benchmarks.equal_pd``.

20,000 flagged lines × 280 columns, one difference planted; prints seconds, what was told, and what could have been.
"""

import time

import numpy as np
import pandas as pd

from limitlens.models.false_positives import contrast

LINES, COLUMNS = 20_000, 280


def main() -> None:
    rng = np.random.default_rng(1)
    names = [f"f{k}" for k in range(COLUMNS)]
    values = pd.DataFrame(rng.normal(size=(LINES, COLUMNS)), columns=names)
    pushes = values * rng.normal(scale=0.1, size=COLUMNS)
    log_odds = pushes.to_numpy().sum(axis=1) - 1
    bad = rng.random(LINES) < 1 / (1 + np.exp(-log_odds - 0.1 * values["f0"]))
    started = time.perf_counter()
    found = contrast(pushes, values, bad.to_numpy(), 1 / (1 + np.exp(-log_odds)), {})
    told = [one["feature"] for one in found.features if one["told"]]
    print(f"{time.perf_counter() - started:.1f} s; told: {told}; could have been found: {found.smallest:.3f} sd")


if __name__ == "__main__":
    main()
