"""The page of the data contracts, written from the declarations and the rules themselves.

``python -m limitlens.data.contract_page > docs/data-contracts.md`` brings it up to date.
"""

import sys

from limitlens.data.check import QUARANTINED_ROWS
from limitlens.data.contracts import (
    MATERIAL_CENTS,
    MATERIAL_PERCENT,
    MAX_CENTS,
    MAX_QUARANTINED_SHARE,
    SOURCES,
    Column,
    Source,
)
from limitlens.data.delivery import ENDINGS, MAX_COLUMNS
from limitlens.data.nothing import WORDS
from limitlens.data.protected import PLACE_PARTS, PLACE_WORDS, PROTECTED_PARTS, PROTECTED_WORDS, THINGS
from limitlens.data.pseudonyms import KINDS
from limitlens.data.purposes import PURPOSES
from limitlens.data.rules import LOOKS_KNOWN, UNKNOWN_ACCOUNT, Rule, column_rules, source_rules
from limitlens.data.units import FRACTIONS_ROWS

_INTRODUCTION = f"""# What may come in

A delivery is a folder with one folder a source, each with any number of files: {", ".join(f"`*{e}`" for e in ENDINGS)}.
`limitlens check INPUT` reads it and either refuses it, and takes in nothing, or takes in one load; `--sample` says what
each number means that was accepted.

**Every row** is accepted, quarantined with the first rule it breaks, or recognised as delivered before: rows in =
accepted + quarantined + deduplicated. The quarantine keeps the file, the row, the column, the rule and the row itself.

**Refused as a whole**, with the file and what to do: a file that cannot be read or is not UTF-8, a required column
that is missing, a column of another type (or of which no value is of its type), more than {MAX_COLUMNS:,} columns, a
quote that is never closed or closed rows later, a link that leads out of the folder, a delivery without accounts, or
with neither events nor outcomes. Accounts with attributes and outcomes alone, as application data come, are enough to
train, validate, score and decide; `decide` then says what it lacks. A file of accounts without an optional column is
refused where another column reads almost like it: a misspelt one would become an attribute.

**Refused for what is in it**: a file with a column of cents that looks like another unit (a tenth of its values, and
{FRACTIONS_ROWS} or most of them, are no whole numbers, or most values of a CSV are written with two decimals), and a
delivery in which more than {MAX_QUARANTINED_SHARE:.0%} of the rows of a source, and at least {QUARANTINED_ROWS},
break the contract; `--max-quarantined-share` allows more.

**Types.** A timestamp is UTC with microseconds; a time with an offset is converted, one without is read as UTC; times
in a CSV are ISO 8601. Cents are whole numbers of the account's currency, at most {MAX_CENTS:,} either way. An empty
text is a null. Booleans are true or false, or 1 or 0; an id may be an integer. A CSV row with another number of fields
than its header is quarantined.

**Words for nothing** ({", ".join(f"`{word}`" for word in WORDS)}) are nulls in a description and in an attribute. In an
id or a kind they hold the row back, in small or capital letters alike: they would tie together what has nothing in
common. So do -1 and nothing but zeros and dashes in an id that customers share (`device_id`, `counterparty`). Leave
empty what is not known. A code that could be a true number (an amount of 999, 0 days past due) is accepted.

**Ids** ({", ".join(f"`{name}`" for name in KINDS)},
and attributes of the accounts whose names end in `_id`) are judged as delivered and stored as pseudonyms, unless the
workspace was begun with `--plain-ids`: [privacy](privacy.md). What has the shape of a pseudonym is then quarantined.
Other attributes stay as delivered: leave out names, phone numbers and whatever else names a person.

**Ahead of time.** A row whose `known_time` lies more than an hour after the load (`--loaded-at`, default: now) is
quarantined as known after the load; delivered again when its time has come, it is accepted. The data reach as far as
more than half of the event sources do: up to there `decide` goes unless it is given a date. A source a month out of
step with the others is a warning.

**Limit 0** is accepted: the line is known, and its events with it. While that version counts, the line stands in no
book: it is not decided, scored or trained on, and `check`, `decide`, `score` and `why` say so.

**No limit** is accepted too, for instalment loans and applications: `limit_cents` is empty, or no file has the column.
Such a line is trained on, validated and scored like any other, the limit and what depends on it missing, and
`limitlens why` says what pushed its PD. It is never decided: `check` and `decide` count such lines, and where no line
has a limit, `decide` refuses with one line. To have a loan decided, deliver the amount lent as its limit.

**Versions.** A correction repeats the `event_id` with a later `known_time`. The same key with the same content is a
repeat delivery; with other content it is a conflict: the row accepted before stands, of several new ones none does.
An `event_id` belongs to one account: a version that gives it to another is held back as a conflict too.

**Taken back.** `limitlens withdraw-load LOAD --by NAME --reason TEXT` takes a delivery back. Nothing is deleted: each
of its rows gets a version that says what the other loads say (an event that no other knows is retracted, an account
that no other knows has limit 0 and stands in no book), known after the last decision. Decisions to come do not see the
load, those before replay as they were, outcomes it brought are no labels any more, its days are no past for
`limitlens quality`, and its times do not say how far the data reach. Rows that another delivery repeated were known
already and go with it. Whatever is delivered again afterwards, the same rows or corrected ones, is accepted.

**What for.** Each column is held for a purpose. Sensitive are place and device: `train --without sensitive` uses none
of them ([docs/privacy.md](privacy.md#purposes)).

**Two clocks.** A row that becomes known before the latest decided moment, but is delivered only after it, is stored
with that moment as its `known_time`; `delivered_known_time` keeps what was delivered. So no recorded state changes.
"""


def contract_page() -> str:
    """Text of ``docs/data-contracts.md``: every source, its columns, its rules.

    Examples
    --------
    >>> contract_page().splitlines()[0]
    '# What may come in'
    """
    return "\n".join([_INTRODUCTION, *(_source(source) for source in SOURCES.values()), _arrears(), _protected()])


def _source(source: Source) -> str:
    need = "required" if source.required else "optional"
    kept = "kept as attributes: each a number, a text or a boolean, for good; not under the name of a feature"
    further = kept if source.open_columns else "listed as unused"
    own = [rule for column in source.columns for rule in column_rules(column)]
    across = [rule for rule in source_rules(source) if rule not in own]
    lines = [
        f"## {source.name} ({need})\n",
        f"{source.meaning} Key: {', '.join(f'`{name}`' for name in source.key)}.\n",
        "| column | type | in the file | null | meaning | held back when | held for |",
        "|---|---|---|---|---|---|---|",
        *(_column(source, column) for column in source.columns),
        "",
        *(f"- `{rule.column}`: {rule.text}{_condition(rule)}" for rule in across),
        f"- Further columns are {further}.",
        "",
    ]
    return "\n".join(lines)


def _condition(rule: Rule) -> str:
    return "" if rule in (UNKNOWN_ACCOUNT, LOOKS_KNOWN) else f", when `{rule.broken}`"


def _column(source: Source, column: Column) -> str:
    need = "required" if column.required else "optional"
    null = "allowed" if column.nullable else "no"
    rules = "; ".join(rule.text for rule in column_rules(column))
    purpose = PURPOSES[source.name][column.name]
    held = f"{purpose.text}{'; **sensitive**' if purpose.sensitive else ''}"
    return f"| `{column.name}` | {column.dtype} | {need} | {null} | {column.meaning} | {rules} | {held} |"


#: What came, and what it says about days past due.
_ARREARS = (
    (
        "a `due`",
        "owed from its date on; missed while what is open of it exceeds "
        f"{MATERIAL_CENTS / 100:.2f} and {MATERIAL_PERCENT}% of it",
    ),
    ("a `repayment`", "covers the instalment it names, the rest the oldest one; credit carries on"),
    (
        "a `status` of 0 days",
        "all that was due up to a day before is settled by then, whatever was paid; later dues count as ever",
    ),
    (
        "a `status` of n days",
        "instalments older than that are settled by then. The days go on, n + 1, n + 2, …, until something is repaid; "
        "from then on the instalments decide, or, where none was due by the time of the status, the days stand still "
        "until the next one",
    ),
    ("no status", "the instalments decide"),
    (
        "no event of `payment` until the end of the horizon, of a line in use",
        "no label: silence is not good",
    ),
    ("no event of `payment` of any line from some day on", "no label reaches beyond that day"),
)


def _arrears() -> str:
    rows = "\n".join(f"| {what} | {says} |" for what, says in _ARREARS)
    return f"""## Days past due

One definition for features, rules and labels. `dpd_days` is the greater of the days of the oldest instalment that is
missed and of those the latest status states; `past_due_cents` is what is open of the missed instalments.

| what came | what it says |
|---|---|
{rows}
"""


def _protected() -> str:
    listed = {
        "words": ", ".join(f"`{word}`" for word in sorted(PROTECTED_WORDS)),
        "things": ", ".join(f"`{word}`" for word in sorted(THINGS)),
        "places": ", ".join(f"`{word}`" for word in sorted(PLACE_WORDS)),
    }
    return f"""## Protected attributes

An attribute of the accounts whose name has one of these words, as in `CODE_GENDER` or `clientAge`, is kept apart, and
the check says so. It serves fairness tests and is no feature unless `[features] protected` of the training settings
names it: {listed["words"]}; {"、".join(PROTECTED_PARTS)}. Beside one of
{listed["things"]} the word `age` is no matter.

## Places, and texts of many values

They stand for who lives where, and a text of hundreds of values is learned by heart. An attribute whose name has one
of these words, or a text of more than 50 values, is no feature unless `[features] attributes` of the training settings
names it, and `train` says what it left out: {listed["places"]}; {"、".join(PLACE_PARTS)}.
"""


if __name__ == "__main__":
    sys.stdout.write(contract_page())
