from .workspace import Workspace, default_policy, default_settings

__all__ = ["Workspace", "default_policy", "default_settings"]
