"""Device: from what and from where the customer signs in. New is not bad; new together with cash-out is."""

from limitlens.features.declarations import Aggregate

_D = "device"

DEVICE: tuple[Aggregate, ...] = (
    Aggregate("device_event_count", _D, "count", (1, 2, 7, 30),
              why="activity on the app", reason="unusual_sign_in"),
    Aggregate("login_count", _D, "count", (2, 30), ("login",),
              why="how often the customer looks", reason="unusual_sign_in"),
    Aggregate("device_distinct", _D, "distinct", (2, 7, 30, 90), (), "device_id",
              why="devices in use", reason="new_device"),
    Aggregate("city_distinct", _D, "distinct", (2, 7, 30, 90), (), "city",
              why="places in use", reason="new_place"),
    Aggregate("new_device_count", _D, "count", (2, 7, 30), only="new_device",
              why="first sign-in from a device never seen on the account", reason="new_device"),
    Aggregate("new_city_count", _D, "count", (2, 7, 30), only="new_city",
              why="first sign-in from a city never seen on the account", reason="new_place"),
    Aggregate("new_device_and_city_count", _D, "count", (2, 7, 30), only="new_device_and_city",
              why="both new at once: travel, or somebody else", reason="new_device"),
    Aggregate("device_switch_count", _D, "count", (2, 7, 30), only="device_switch",
              why="going back and forth between devices", reason="new_device"),
    Aggregate("night_event_count", _D, "count", (2, 7, 30), only="night",
              why="sign-ins between midnight and six", reason="night_activity"),
    Aggregate("device_change_count", _D, "count", (7, 30), ("device_change",),
              why="a changed phone, as reported", reason="new_device"),
    Aggregate("password_change_count", _D, "count", (7, 30), ("password_change",),
              why="credentials reset before a takeover", reason="unusual_sign_in"),
    Aggregate("new_device_days_since", _D, "days_since_last", (0,), only="new_device", unit="days",
              why="how fresh the newest device is", reason="new_device"),
)  # fmt: skip
