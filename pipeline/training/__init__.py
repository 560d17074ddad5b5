"""Training: feature tables, the training table, tuning, training, and what was found out about a model."""
