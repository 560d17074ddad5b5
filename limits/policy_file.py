"""The file of a policy: TOML, read section by section and checked before anything uses it."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from limitlens.data.errors import ConfigError
from limitlens.data.toml_lines import KeyPath
from limitlens.data.toml_reader import Reader, header, load_toml, read_toml
from limitlens.features.reasons import REASONS
from limitlens.limits.policy import (
    BUCKET_ACTIONS,
    OPERATORS,
    RULE_ACTIONS,
    SECTIONS,
    Bucket,
    Condition,
    CutOffs,
    Daily,
    Desk,
    Disqualifier,
    Holds,
    Monitoring,
    Opening,
    Policy,
    Rule,
    SecondLook,
    Stress,
    Watch,
)
from limitlens.limits.policy_checks import check_policy

_Part = TypeVar("_Part")

_SECOND_LOOK = re.compile(r"^\[second_look\].*\n(?:(?!\[).*\n?)*", re.MULTILINE)


def read_policy(path: Path) -> Policy:
    """Read and check a policy file.

    Parameters
    ----------
    path : Path
        TOML.

    Raises
    ------
    ConfigError
        The file cannot be read (:func:`limitlens.data.toml_reader.read_toml`) or breaks a rule of :func:`parse_policy`.
    """
    return parse_policy(read_toml(path), str(path))


def parse_policy(text: str, source: str = "policy") -> Policy:
    """Parse and check the text of a policy.

    Parameters
    ----------
    text : str
        TOML.
    source : str
        What errors call it: the name of its file.

    Raises
    ------
    ConfigError
        Unknown or missing keys, wrong types, values out of range, or a contradiction (see
        :func:`limitlens.limits.policy_checks.check_policy`); with file and line.
    """
    return policy_of(load_toml(text, source), text, source)


def at_once(policy: Policy) -> Policy:
    """The same policy without a second look: what PD asks for is done on the day it is asked for.

    Parameters
    ----------
    policy : Policy

    Returns
    -------
    Policy
        With the text of the file but for its section ``[second_look]``.

    Raises
    ------
    ConfigError
        The section has no line ``[second_look]`` of its own, so that it cannot be taken out of the text.
    """
    if policy.second_look is None:
        return policy
    immediate = parse_policy(_SECOND_LOOK.sub("", policy.text), policy.name)
    if immediate.second_look:
        raise ConfigError(
            f"policy {policy.name!r}: write its second look as a section [second_look] in lines of its own."
        )
    return immediate


def policy_of(body: Mapping[str, Any], text: str, source: str = "policy") -> Policy:
    """Check the plain values of a policy; ``text`` is where they came from, and tells their lines.

    Raises
    ------
    ConfigError
        As :func:`parse_policy`.
    """
    reader = Reader(text, source)
    known = [field.name for field in fields(Policy) if field.name != "text"]
    reader.table(body, (), known, ["name"])
    sections = {name: reader.section(body, (name,), into) for name, into in SECTIONS.items()}
    policy = Policy(
        name=reader.value(body, (), "name", str),
        currency=reader.value(body, (), "currency", str) if "currency" in body else "",
        **sections,
        opening=_by_segment(body, "opening", Opening, reader),
        disqualifiers=_each(body, "disqualifiers", _disqualifier, reader),
        segments=_by_segment(body, "segments", CutOffs, reader),
        rules=_each(body, "rules", _rule, reader),
        delinquency=_each(body, "delinquency", _bucket, reader),
        holds=_holds(body, reader) if "holds" in body else None,
        second_look=_second_look(body, reader) if "second_look" in body else None,
        daily=_daily(body, reader) if "daily" in body else None,
        watch=_watch(body, reader) if "watch" in body else None,
        desk=reader.section(body, ("desk",), Desk) if "desk" in body else None,
        stress=reader.section(body, ("stress",), Stress) if "stress" in body else None,
        monitoring=reader.section(body, ("monitoring",), Monitoring) if "monitoring" in body else None,
        text=text,
    )
    check_policy(policy, reader)
    return policy


def check_columns(policy: Policy, columns: Collection[str], left_out: Collection[str] = ()) -> None:
    """Refuse a policy that names an unknown column: what needs it could never act, and nobody would know.

    Parameters
    ----------
    policy : Policy
    columns : collection of str
        Every column there could be, those of absent sources included.
    left_out : collection of str, optional
        Those among them that the training settings leave out.

    Raises
    ------
    ConfigError
        Names the place, the column and the likely one.
    """
    named = [(f"rule {rule.name!r}", condition.column) for rule in policy.evidence for condition in rule.when]
    named += [("[daily]", condition.column) for condition in policy.decided_daily]
    read = policy.affordability
    named += [("[affordability]", column) for column in (read.inflow_column, read.seen_column)]
    for where, column in named:
        if column in left_out:
            raise ConfigError(
                f"policy {policy.name}: {where} names column {column!r}, which [features] columns of the training "
                "settings leaves out; add it there."
            )
        if column not in columns:
            likely = get_close_matches(column, columns, 1)
            mend = (
                f"did you mean {likely[0]!r}?" if likely else "use a column of the catalogue, or a numeric attribute."
            )
            raise ConfigError(f"policy {policy.name}: {where} names column {column!r}; {mend}")


def _each(
    body: Mapping[str, Any], name: str, read: Callable[[Any, KeyPath, Reader], _Part], reader: Reader
) -> tuple[_Part, ...]:
    """One instance an element of an array of tables."""
    return tuple(read(raw, (name, place), reader) for place, raw in enumerate(reader.array(body, (name,))))


def _holds(body: Mapping[str, Any], reader: Reader) -> Holds:
    names = [field.name for field in fields(Holds)]
    values = reader.table(body["holds"], ("holds",), names, names)
    plain = {f.name: reader.value(values, ("holds",), f.name, f.type) for f in fields(Holds)[:-1]}
    rules = reader.array(values, ("holds", "except_rules"))
    return Holds(**plain, except_rules=tuple(str(rule) for rule in rules))


def _second_look(body: Mapping[str, Any], reader: Reader) -> SecondLook:
    names = [field.name for field in fields(SecondLook)]
    values = reader.table(body["second_look"], ("second_look",), names, names)
    days = reader.value(values, ("second_look",), "after_days", int)
    rules = reader.array(values, ("second_look", "soft_rules"))
    return SecondLook(days, tuple(str(rule) for rule in rules))


def _daily(body: Mapping[str, Any], reader: Reader) -> Daily:
    values = reader.table(body["daily"], ("daily",), ["any_of"], ["any_of"])
    conditions = reader.array(values, ("daily", "any_of"))
    if not conditions:
        raise reader.error(
            ("daily", "any_of"), "any_of of [daily] is empty; give a condition, or leave the section out."
        )
    return Daily(tuple(_condition(raw, ("daily", "any_of", place), reader) for place, raw in enumerate(conditions)))


def _watch(body: Mapping[str, Any], reader: Reader) -> Watch:
    values = reader.table(body["watch"], ("watch",), ["rules"], ["rules"])
    rules = reader.array(values, ("watch", "rules"))
    if not rules:
        raise reader.error(("watch", "rules"), "rules of [watch] is empty; name a rule, or leave the section out.")
    return Watch(tuple(str(rule) for rule in rules))


def _by_segment(body: Mapping[str, Any], name: str, into: type, reader: Reader) -> dict[str, Any]:
    """One instance a segment; what a segment leaves out it takes from the default."""
    segments = body.get(name)
    if not isinstance(segments, dict) or "default" not in segments:
        raise reader.error((name,), f"section [{name}.default] is missing; add it.")
    known = [field.name for field in fields(into)]
    default = reader.table(segments["default"], (name, "default"), known, known)
    merged = {key: {**default, **reader.table(segments[key], (name, key), known)} for key in segments}
    return {key: reader.section(merged, (name, key), into) for key in segments}


def _rule(raw: Any, path: KeyPath, reader: Reader) -> Rule:
    body = reader.table(raw, path, [f.name for f in fields(Rule)], ["name", "action", "reason", "when"])
    return Rule(
        name=reader.value(body, path, "name", str),
        action=_word(body, path, "action", RULE_ACTIONS, reader),
        reason=_word(body, path, "reason", sorted(REASONS), reader),
        when=_conditions(body, path, reader),
        new_lines=reader.value({"new_lines": False, **body}, path, "new_lines", bool),
    )


def _disqualifier(raw: Any, path: KeyPath, reader: Reader) -> Disqualifier:
    names = [field.name for field in fields(Disqualifier)]
    body = reader.table(raw, path, names, names)
    return Disqualifier(
        name=reader.value(body, path, "name", str),
        reason=_word(body, path, "reason", sorted(REASONS), reader),
        when=_conditions(body, path, reader),
    )


def _bucket(raw: Any, path: KeyPath, reader: Reader) -> Bucket:
    body = reader.table(raw, path, [f.name for f in fields(Bucket)], ["from_days", "action"])
    return Bucket(
        from_days=reader.value(body, path, "from_days", int),
        to_days=reader.value(body, path, "to_days", int) if "to_days" in body else None,
        action=_word(body, path, "action", BUCKET_ACTIONS, reader),
    )


def _word(body: Mapping[str, Any], path: KeyPath, key: str, words: Collection[str], reader: Reader) -> str:
    word: str = reader.value(body, path, key, str)
    if word not in words:
        raise reader.error((*path, key), f"unknown {key} {word!r} in {header(path)}; expected one of {list(words)}.")
    return word


def _conditions(body: Mapping[str, Any], path: KeyPath, reader: Reader) -> tuple[Condition, ...]:
    conditions = reader.array(body, (*path, "when"))
    if not conditions:
        raise reader.error((*path, "when"), f"{header(path)} has no condition: it would hold for every line.")
    return tuple(_condition(raw, (*path, "when", place), reader) for place, raw in enumerate(conditions))


def _condition(raw: Any, path: KeyPath, reader: Reader) -> Condition:
    body = reader.table(raw, path, ["column", *OPERATORS], ["column"])
    given = [operator for operator in OPERATORS if operator in body]
    if len(given) != 1:
        raise reader.error(path, f"the condition has {len(given)} of {list(OPERATORS)}; expected one.")
    return Condition(reader.value(body, path, "column", str), given[0], reader.value(body, path, given[0], float))
