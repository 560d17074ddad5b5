"""The way through: stages, iterations in MLflow, report, command line."""
