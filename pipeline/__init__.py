"""The way through: stages, iterations in MLflow, report, command line."""

from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

__all__ = ["Workspace", "default_policy", "default_settings"]
