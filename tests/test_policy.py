"""The policy file: unknown, missing and contradictory values are refused with file and line."""

import os
import re
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from scipy.special import expit, logit

from limitlens.data.errors import ConfigError
from limitlens.data.world import read_world
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.line import line_column_names
from limitlens.limits.policy import SECTIONS, Holds, shifted
from limitlens.limits.policy_file import check_columns, parse_policy, read_policy
from limitlens.models.settings import read_settings
from limitlens.pipeline.workspace import default_policy, default_settings

TEXT = default_policy().text


TWIN = """[[rules]]
name = "twin"
action = "review"
reason = "new_device"
when = [{ column = "balance_cents", above = 1 }]

"""
DRAWN = "at_least = 4 }"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dwell_days = 28", "dwell_dayz = 28", r"unknown key 'dwell_dayz' in \[timers\]"),
        ("dwell_days = 28", 'dwell_days = "28"', r"dwell_days in \[timers\] is '28'; expected int"),
        ("dwell_days = 28", "dwell_days = 0", "dwell_days must be at least 1"),
        ("cool_off_days = 90", "cool_off_days = 27", "cool_off_days 27 is shorter than dwell_days 28"),
        ("dead_band_log_odds = 0.20", "dead_band_log_odds = -1", "dead_band_log_odds must be at least 0; got -1"),
        ("protected_days = 90", "protected_days = -1", "protected_days must be at least 0; got -1"),
        ("[loss]\nlgd = 0.80", "[loss]", r"'lgd' is missing in \[loss\]"),
        ('name = "base"', 'currency = "yuan"\nname = "base"', "currency is 'yuan'; expected a code such as 'CNY'"),
        ("lgd = 0.80", "lgd = 1.8", "lgd is 1.8; expected 0 to 1"),
        ("ccf = 0.60", "ccf = -0.1", "ccf is -0.1; expected 0 to 1"),
        ("ccf = 0.60", "ccf = nan", r"ccf in \[loss\] is nan"),
        ("share = 0.02", "share = 1.5", "holdout share is 1.5"),
        ("capacity_per_day = 300", "capacity_per_day = -1", "capacity_per_day must be at least 0"),
        ('order = "nearest_cut_off"', 'order = "nearest"', "order in .* is 'nearest'; expected one of"),
        ("max_increase_cents = 20_000_00", "max_increase_cents = 99_99", "no line could be raised"),
        ("inflow_months = 3", "inflow_months = 0", "inflow_months must be at least 1"),
        ("close_above_pd = 0.450", "close_above_pd = 0.200", "cut-offs of segment 'default' must rise"),
        ("review_above_pd = 0.100", "decrease_above_pd = 0.100", "cut-offs of segment 'student' must rise"),
        ("min_limit_cents = 500_00", "min_limit_cents = 550_00", "no multiple of rounding_cents 10000"),
        ("max_limit_cents = 20_000_00", "min_limit_cents = 900_000_00", "limit band of segment 'student' is empty"),
        ("max_limit_cents = 200_000_00", f"max_limit_cents = {10**16}", "expected at most 1,000,000"),
        ("max_monthly_inflows = 3.0", "max_monthly_inflows = 0", "of segment 'student' must be above 0"),
        ("[segments.growing_loan]", "[segments.student] #!", "not valid TOML"),
        ('name = "base"', '#\nname = "base"\nname = "again" #!', "not valid TOML"),
        ("[segments.student]", "[segments.sex]", "'sex' is one of the protected attributes"),
        ("initial_limit_cents = 3_000_00", "initial_limit_cents = 0", "opening of 'student': expected 0 ≤ minimum"),
        ("max_limit_cents = 10_000_00", "max_limit_cents = 30_000_00", "above the limit band of its segment, 2000000"),
        ('action = "close"', 'action = "destroy"', "unknown action 'destroy'.*expected one of"),
        ('reason = "new_device"', 'reason = "new_devise"', "unknown reason 'new_devise'.*'new_device'"),
        (DRAWN, "at_least = 4 }, { column = 'age', below = 3 }", "'age' is one of the protected attributes"),
        ("at_least = 0.70 }", "at_least = 0.70, at_most = 4 }", "the condition has 2 of"),
        (", at_least = 0.70 }", " } #!\n", "the condition has 0 of"),
        ("new_lines = true", 'new_lines = "yes"', "new_lines in .* is 'yes'; expected bool"),
        ("when = [\n", "when = [ #!\n{ column = 'line_age_days', above = 30 },\n", "'cash_out' can never fire"),
        ("[[rules]]", TWIN + TWIN.replace("twin", "other").replace("]\n\n", "] #!\n") + "[[rules]]", "same conditions"),
        ("[[rules]]", TWIN + TWIN.replace('n"\n', 'n" #!\n', 1).replace("1 }", "2 }") + "[[rules]]", "names repeat"),
        ("[[rules]]", TWIN.replace("[{", "[] #! {") + "[[rules]]", "no condition: it would hold for every line"),
        ('name = "base"', 'lines = []\nname = "base"', "unknown key 'lines' in the file"),
        ('name = "cash_out"', 'name = "past_due_30"', "names of our own"),
        ("from_days = 30", "from_days = 31", "gap: from_days is 31; expected 30"),
        ("from_days = 30", "from_days = 29", "overlap: from_days is 29; expected 30"),
        ("from_days = 1\n", "from_days = 2\n", "gap: from_days is 2; expected 1"),
        ("to_days = 89", "to_days = 20", "to_days is 20, before from_days"),
        ("to_days = 89", 'action = "freeze"\n[[delinquency]]\nfrom_days = 40 #!', "has no end; give it to_days"),
        ("from_days = 90", "from_days = 90\nto_days = 99 #!", "gap: nothing is said from 100 days"),
        ('= 90\naction = "close"', '= 90\naction = "review" #!', "milder than the bucket before it"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_line(old: str, new: str, message: str) -> None:
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    with pytest.raises(ConfigError, match=message) as refused:
        parse_policy(text, "p.toml")
    assert str(refused.value).startswith(f"p.toml:{line_of(text, '#!' if '#!' in new else new)}: ")


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize("text", ["a = " + "[" * 400_000, "[[rules]]\n" * 90_000, 'name = """\n', "\x00", "name = 1"])
def test_a_file_that_is_no_policy_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^p\.toml") as refused:
        parse_policy(text, "p.toml")
    assert "\n" not in str(refused.value)


def test_whole_numbers_and_fractions_are_the_same_value() -> None:
    whole = parse_policy(TEXT.replace("max_monthly_inflows = 4.0", "max_monthly_inflows = 4"))
    assert whole.digest == default_policy().digest


def test_a_missing_section_is_named() -> None:
    with pytest.raises(ConfigError, match=r"section \[segments.default\] is missing"):
        parse_policy(TEXT.replace("[segments.default]", "[segments.other]"), "p.toml")
    with pytest.raises(ConfigError, match=r"section \[reviews\] is missing"):
        parse_policy(re.sub(r"\[reviews\].*?\n\n", "", TEXT, flags=re.DOTALL), "p.toml")


def test_comments_and_layout_do_not_change_the_digest_but_values_do() -> None:
    commented = parse_policy("# a note\n" + TEXT)
    changed = parse_policy(TEXT.replace("dwell_days = 28", "dwell_days = 29"))
    assert commented.digest == default_policy().digest != changed.digest


def test_every_value_is_in_the_digest_and_neither_the_text_nor_the_order_of_segments_is() -> None:
    policy = default_policy()
    named = [field.name for field in fields(policy) if field.name not in {"text", "holdout"}]  # of that, each part
    other = [replace(policy, **{name: "other"}) for name in named]
    for section in SECTIONS:
        part = getattr(policy, section)
        other += [replace(policy, **{section: replace(part, **{field.name: "other"})}) for field in fields(part)]
    assert len({policy.digest, *(one.digest for one in other)}) == 1 + len(other)
    turned = dict(reversed(policy.segments.items()))
    assert len(turned) > 1
    assert replace(policy, text="", segments=turned).digest == policy.digest


def test_a_shifted_policy_has_each_cut_off_on_pd_higher_in_log_odds_and_all_else_as_it_was() -> None:
    policy = default_policy()
    higher = shifted(policy, 0.7)
    for segment, cuts in policy.segments.items():
        for name, value in asdict(cuts).items():
            found = getattr(higher.segments[segment], name)
            expected = expit(logit(value) + 0.7) if name.endswith("_pd") else value
            assert found == pytest.approx(expected, rel=1e-12), name
    assert replace(higher, segments=policy.segments) == policy


@pytest.mark.parametrize("read", [read_policy, read_settings, read_world])
def test_what_is_no_small_text_file_is_refused_unread(read: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as handle:
        handle.truncate(1_000_000_000)
    (tmp_path / "latin").write_bytes(b"\n\nname = '\xe9'")
    for name, message in (
        ("folder", "folder: not a regular file"),
        ("pipe", "pipe: not a regular file"),
        ("huge", "huge: 1,000,000,000 bytes; expected at most 1,000,000"),
        ("latin", "latin:3: not UTF-8"),
        ("nothing", "nothing: cannot be read .No such file"),
    ):
        with pytest.raises(ConfigError, match=message):
            read(tmp_path / name)


def test_a_misspelt_column_is_refused_with_the_likely_one() -> None:
    policy = parse_policy(TEXT.replace('column = "draw_count_2d"', 'column = "draw_count_2"', 1))
    with pytest.raises(ConfigError, match=r"rule 'cash_out' names column 'draw_count_2'.*'draw_count_2d'"):
        check_columns(policy, {*CATALOGUE.columns, *line_column_names(CATALOGUE)})


def test_a_segment_inherits_what_it_leaves_out() -> None:
    policy = default_policy()
    assert policy.cut_offs("student").freeze_above_pd == policy.cut_offs("nobody").freeze_above_pd
    assert policy.cut_offs("student").max_limit_cents < policy.cut_offs("nobody").max_limit_cents


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\nn_estimators = 'many'", "2: n_estimators in .model. is 'many'; expected int"),
        ("[labels]\nlevel_months = -1", "level_months is -1; expected at least 0"),
        ("[labels]\nhorizon_months = 0", "horizon_months is 0; expected at least 1"),
        ("[model]\nfolds = 1", "folds is 1; expected at least 2"),
        ("[model]\nbagging_fraction = 1.5", r"bagging_fraction is 1.5; expected at least 0.01 and at most 1\."),
        ("[model]\nlambda_l2 = inf", "lambda_l2 in .model. is inf; expected at most"),
        ("[model]\nlearning_rate = nan", "learning_rate in .model. is nan; expected at most"),
        ("[model]\nbush = 1", r"unknown key 'bush' in \[model\]"),
        ("[moodel]\ntrees = 1", "1: unknown key 'moodel' in the file; did you mean 'model'"),
        ("[model", "1: not valid TOML"),
        ("[model]\nrounds = 1", "2: rounds is 1 and carried_rounds 3; expected fewer carried_rounds than rounds"),
        ("[model]\nn_estimators = 9\ncarried_rounds = 5", "3: rounds is 5 and carried_rounds 5"),
        (
            "[model]\nn_estimators = 3000000000",
            "2: n_estimators is 3000000000; expected at least 1 and at most 2,147,483,647",
        ),
        ("[model]\nseed = 1" + "0" * 400, "2: seed in .model. is 10+; expected at most"),
        ("[model]\nseed = 1" + "0" * 5_000, "not valid TOML"),
        ("[labels]\nhorizon_months = 9999", "2: horizon_months is 9999; expected at least 1 and at most 1,200"),
        ("model = 3", "1: .model. is 3; expected a table"),
        ("[features]\nprotected = 'age'", "2: protected is 'age'; expected a list"),
        ("[features]\nprotected = [1]", "2: protected names 1; expected a list of names"),
        *(
            (f"[features]\ntimezone = '{name}'", "2: timezone is '.*'; expected an IANA name")
            for name in ("../../etc/passwd", "", "America", "Mars/Base", "localtime", "UTC; DROP")
        ),
        ("a = " + "[" * 100_000, "brackets within brackets"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"train\.toml:.*{message}"):
        read_settings(path)


def test_the_shipped_settings_are_the_defaults_of_the_code() -> None:
    from limitlens.models.settings import TrainSettings

    assert default_settings() == TrainSettings()


def test_without_the_section_an_alarm_holds_a_warning_does_not_and_somebody_has_14_days_to_judge() -> None:
    holding = replace(default_policy(), holds=None).holding
    assert holding == Holds(warn_holds=False, release_by="", decide_within_days=14, except_rules=())
