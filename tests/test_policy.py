"""The policy file: unknown, missing and contradictory values are refused with file and line."""

from pathlib import Path

import pytest

from limitlens.data.errors import ConfigError
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.line import line_column_names
from limitlens.limits.policy import check_columns, parse_policy, read_policy
from limitlens.models.settings import read_settings
from limitlens.pipeline.workspace import default_policy, default_settings

TEXT = default_policy().text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dwell_days = 28", "dwell_dayz = 28", r"p.toml:\d+: unknown key 'dwell_dayz' in \[timers\]"),
        ("dwell_days = 28", "dwell_days = 0", r"p.toml:\d+: dwell_days must be at least 1"),
        ("dwell_days = 28", 'dwell_days = "28"', r"p.toml:\d+: dwell_days in \[timers\] is '28'; expected int"),
        ("lgd = 0.80", "", r"'lgd' is missing in \[loss\]"),
        ("close_above_pd = 0.450", "close_above_pd = 0.200", r"cut-offs of segment 'default' must rise"),
        ('action = "close"', 'action = "destroy"', r"p.toml:\d+: action 'destroy'"),
        ("[segments.student]", "[segments.sex]", r"protected attributes"),
        ('column = "dpd_days"', 'column = "age"', r"protected attributes"),
        ("at_least = 30 }", "at_least = 30, at_most = 40 }", r"has 2 of"),
        ('name = "base"', 'name = "base"\nname = "again"', r"not valid TOML.*line"),
        ("share = 0.02", "share = 1.5", r"holdout share is 1.5"),
        ("lgd = 0.80", "lgd = 1.8", r"p.toml:\d+: lgd is 1.8; expected 0 to 1"),
        ("ccf = 0.60", "ccf = -0.1", r"p.toml:\d+: ccf is -0.1; expected 0 to 1"),
        ('reason = "new_device"', 'reason = "new_devise"', r"p.toml:\d+: unknown reason 'new_devise'.*'new_device'"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_line(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        parse_policy(TEXT.replace(old, new, 1), "p.toml")


def test_comments_and_layout_do_not_change_the_digest_but_values_do() -> None:
    commented = parse_policy("# a note\n" + TEXT)
    changed = parse_policy(TEXT.replace("dwell_days = 28", "dwell_days = 29"))
    assert commented.digest == default_policy().digest != changed.digest


def test_a_huge_policy_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    with path.open("wb") as handle:
        handle.truncate(1_000_000_000)
    with pytest.raises(ConfigError, match="1,000,000,000 bytes"):
        read_policy(path)


def test_a_misspelt_column_is_refused_with_the_likely_one() -> None:
    policy = parse_policy(TEXT.replace('column = "dpd_days"', 'column = "dpd_day"', 1))
    with pytest.raises(ConfigError, match=r"rule 'past_due_30' names column 'dpd_day'.*'dpd_days'"):
        check_columns(policy, {*CATALOGUE.columns, *line_column_names(CATALOGUE)})


def test_a_segment_inherits_what_it_leaves_out() -> None:
    policy = default_policy()
    assert policy.cut_offs("student").freeze_above_pd == policy.cut_offs("nobody").freeze_above_pd
    assert policy.cut_offs("student").max_limit_cents < policy.cut_offs("nobody").max_limit_cents


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\ntrees = 'many'", "trees is 'many'; expected int"),
        ("[model]\nbush = 1", r"unknown key 'bush' in \[model\]"),
        ("[moodel]\ntrees = 1", r"unknown section \[moodel\]"),
        ("[model", "not valid TOML"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_settings(path)


def test_the_shipped_settings_are_the_defaults_of_the_code() -> None:
    from limitlens.models.settings import TrainSettings

    assert default_settings() == TrainSettings()
