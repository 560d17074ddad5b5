"""What it means: default risk, its calibration and validation, explanations, false positives."""
