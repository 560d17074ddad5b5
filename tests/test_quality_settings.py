"""The settings of the judgement on incoming data: what ships is read, a mistake is named by file and line."""

from pathlib import Path

import pytest

from limitlens.data.errors import ConfigError
from limitlens.data.quality_settings import default_quality, parse_quality, read_quality

SHIPPED = (Path(__file__).parent.parent / "conf" / "quality.toml").read_text(encoding="utf-8")


def changed(old: str, new: str) -> str:
    assert old in SHIPPED
    return SHIPPED.replace(old, new, 1)


def test_what_ships_is_what_the_file_says() -> None:
    assert parse_quality(SHIPPED) == default_quality()
    assert default_quality().slices.of("consumption") == ("channel", "category")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hold_p", "hold_q", "unknown key 'hold_q' in [judging]; did you mean 'hold_p'?"),
        ("least_past_days = 60", 'least_past_days = "60"', "least_past_days in [judging] is '60'; expected int."),
        ("least_share = 0.05", "least_share = 5", "least_share in [judging] is 5.0; expected 0.001 to 1."),
        ('["city"]', '["town"]', "device has no text column 'town'"),
        ('["city"]', '"city"', "device in [slices] is 'city'; expected a list of columns."),
        ('"segment", ', '"sex", ', "'sex' is protected and no slice"),
        ("[judging]", "[judgement]", "unknown key 'judgement' in the file; did you mean 'judging'?"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(old: str, new: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "quality.toml"
    path.write_text(changed(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        read_quality(path)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if new.strip('"') in text)
    assert str(refused.value).startswith(f"{path}:{line}: ")
    assert said in str(refused.value)


def test_a_hold_needs_the_smaller_chance() -> None:
    with pytest.raises(ConfigError, match="hold_p is above warn_p"):
        parse_quality(changed("hold_p = 1e-4", "hold_p = 0.1"))
