"""What tests share: hypothesis without deadlines (machines are noisy) and a small, real workspace."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "limitlens",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("limitlens")
