"""The workspace: one folder with everything a project has."""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from limitlens.data.contracts import EVENT_SOURCES
from limitlens.data.damage import read_json
from limitlens.data.errors import ConfigError, IntegrityError, WorkspaceError
from limitlens.data.events import EventStore
from limitlens.data.protected import is_place, is_protected
from limitlens.data.purposes import SENSITIVE
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.declarations import FeatureSet
from limitlens.features.line import line_column_names, taken_names
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger import Ledger
from limitlens.limits.policy import Policy
from limitlens.limits.policy_file import check_columns, parse_policy, read_policy
from limitlens.limits.registry import Registry
from limitlens.models.default_risk import load_model
from limitlens.models.settings import TrainSettings, read_settings

#: A text with more values than this stands for single lines or places rather than for what they have in common.
MAX_VALUES = 50

_CONF = Path(str(files("limitlens.conf")))


@dataclass(frozen=True, init=False, repr=False)
class Workspace:
    """Paths and rooms of one workspace folder: events, tables, models (in MLflow's store), ledger, reports.

    Parameters
    ----------
    root : str or Path
    first_loads : int, optional
        See only so many loads of events; default: all there are.
    """

    root: Path
    first_loads: int | None = None

    def __init__(self, root: str | Path, first_loads: int | None = None) -> None:
        object.__setattr__(self, "root", Path(root))
        object.__setattr__(self, "first_loads", first_loads)

    def __repr__(self) -> str:
        """The folder, and what it has come to."""
        loads, runs, champion = self.events.loads(), self.ledger.runs(), self.registry.champion()
        decided = f"decided until {runs[-1].as_of:%Y-%m-%d}" if runs else "nothing decided"
        return f"<Workspace {self.root}: {len(loads)} loads, champion {champion or 'none'}, {decided}>"

    @cached_property
    def events(self) -> EventStore:
        """Accepted events and quarantine."""
        return EventStore(self.root, self.first_loads)

    def snapshot(self) -> "Workspace":
        """The workspace with the loads it has now, whatever comes in while a long job reads it."""
        return replace(self, first_loads=len(self.events.loads()))

    @cached_property
    def ledger(self) -> Ledger:
        """Decisions, attributions, runs."""
        return Ledger(self.root)

    @cached_property
    def registry(self) -> Registry:
        """Models, policies, promotions, withdrawals."""
        return Registry(self.root)

    @property
    def tables(self) -> Path:
        """Folder of the training tables."""
        return self.root / "tables"

    @property
    def mlflow(self) -> Path:
        """Folder of the MLflow store."""
        return self.root / "mlflow"

    def features(self, as_of: datetime) -> pd.DataFrame:
        """Features of every line of the book, as they were known at a time, with the shipped settings.

        Parameters
        ----------
        as_of : datetime

        Returns
        -------
        DataFrame
            As :func:`limitlens.features.table.build_table` gives it. Large books: ``limitlens build --as-of``.
        """
        chosen = self.feature_set(default_settings())
        relations = self.relations(chosen)
        return build_table(chosen, book([as_of], relations)[["account_id", "as_of", "known_by"]], relations)

    def decisions(self) -> pd.DataFrame:
        """Every decision of the ledger; columns of :data:`limitlens.limits.ledger_tables.DECISIONS`."""
        return self.ledger.query("SELECT * FROM decisions ORDER BY account_id, as_of")

    def attributions(self) -> pd.DataFrame:
        """The latest split of every decision that has one, beside the decision; shares in cents."""
        return self.ledger.query("SELECT * FROM current WHERE revision IS NOT NULL ORDER BY account_id, as_of")

    def explain(self, account_id: str) -> pd.DataFrame:
        """Every decision of one account with its causes, in cents.

        Parameters
        ----------
        account_id : str

        Returns
        -------
        DataFrame
            Indexed by ``as_of``: ``action``, ``limit_before_cents``, ``limit_cents``, ``pd``, then a column each of
            :data:`limitlens.limits.attribution.PLAYERS`; missing where there was no decision before.
        """
        shares = {f"share_cents_{player}": player for player in PLAYERS}
        named = ["action", "limit_before_cents", "limit_cents", "pd", *shares]
        return self.ledger.current(account_id).set_index("as_of")[named].rename(columns=shares)

    def feature_set(self, settings: TrainSettings) -> FeatureSet:
        """The catalogue or what the settings keep of it, without absent sources, with the attributes of the accounts.

        Raises
        ------
        ConfigError
            The settings name a column or an attribute that there is not.
        """
        protected = self.events.protected_attributes()
        if unknown := sorted(set(settings.protected) - set(protected)):
            raise ConfigError(
                f"[features] protected names {unknown}; the accounts were delivered with {sorted(protected)}."
            )
        attributes = {n: kind for n, kind in self.events.attributes().items() if n not in self.left_out(settings)}
        attributes |= {name: protected[name] for name in settings.protected}
        if clash := sorted(name for name in attributes if name.lower() in taken_names(CATALOGUE)):
            raise ConfigError(f"the accounts have attributes named like features: {clash}; rename those features.")
        if unknown := sorted(set(settings.columns) - CATALOGUE.declaration_of.keys()):
            raise ConfigError(f"[features] columns names {unknown}; limitlens features lists what there is.")
        chosen = self._catalogue()
        if settings.columns:
            kept = {*settings.columns, *(position.name for position in CATALOGUE.positions)}
            chosen = chosen.only(kept & chosen.declaration_of.keys())
        if settings.without:
            chosen = chosen.without(SENSITIVE)
            attributes = {name: kind for name, kind in attributes.items() if not is_place(name)}
        return replace(chosen, attributes=tuple(sorted(attributes.items())), timezone=settings.timezone)

    def left_out(self, settings: TrainSettings) -> dict[str, str]:
        """Attributes that are no features unless the settings name them, and why: they stand for who lives where.

        Raises
        ------
        ConfigError
            The settings name an attribute that was not delivered.
        """
        delivered = self.events.attributes()
        if unknown := sorted(set(settings.attributes) - set(delivered)):
            raise ConfigError(
                f"[features] attributes names {unknown}; the accounts were delivered with {sorted(delivered)}."
            )
        values = self.events.values_of([name for name, kind in delivered.items() if kind == "text"])
        many = {name: f"{count:,} values" for name, count in values.items() if count > MAX_VALUES}
        reasons = many | {name: "a place" for name in delivered if is_place(name)}
        return {name: why for name, why in reasons.items() if name not in settings.attributes}

    def relations(self, features: FeatureSet) -> dict[str, str]:
        """SQL of every source; protected attributes join the accounts only if the feature set names them."""
        switched_on = any(is_protected(name) for name, _ in features.attributes)
        relations = self.events.relations()
        return relations | {"accounts": self.events.versions("accounts")} if switched_on else relations

    def iteration(self, version: str, policy_digest: str | None = None) -> Iteration:
        """A registered model with the policy it was released with, or another recorded one."""
        registered = self.registry.model(version)
        model = load_model(self.root / registered.folder, digest=registered.model_digest)
        return Iteration(model, self.policy(policy_digest or registered.policy_digest), version)

    def scoring(self, version: str, policy_digest: str | None = None) -> Iteration:
        """:meth:`iteration` to score with: not a withdrawn one.

        Raises
        ------
        WorkspaceError
            The version was withdrawn.
        """
        if reason := self.registry.withdrawn().get(version):
            raise WorkspaceError(
                f"version {version} was withdrawn ({reason}); run limitlens rollback, or name another."
            )
        return self.iteration(version, policy_digest)

    def validation(self, version: str) -> dict[str, Any]:
        """What the validation of a registered model found.

        Raises
        ------
        IntegrityError
            Its file is missing or damaged.
        """
        path = self.root / self.registry.model(version).folder / "validation.json"
        return read_json(path, lambda body: {**body, "doubts": list(body["doubts"]), "train": dict(body["train"])})

    def policy(self, digest: str) -> Policy:
        """A policy the ledger recorded.

        Raises
        ------
        IntegrityError
            Its text is not the one that was recorded.
        """
        policy = parse_policy(self.registry.policy_text(digest))
        if policy.digest != digest:
            raise IntegrityError(f"{self.root}: policy {digest[:12]} is not the policy that was recorded; restore it.")
        return policy

    def policy_in_force(self) -> Policy:
        """The policy that the champion was released with; before there is one, the policy that ships."""
        version = self.registry.champion()
        return self.policy(self.registry.model(version).policy_digest) if version else default_policy()

    def check_rules(self, policy: Policy, features: FeatureSet) -> None:
        """Refuse a policy whose rules name a column that no feature set and no attribute has.

        Raises
        ------
        ConfigError
            Names the rule, the column and the likely one.
        """
        shipped = {*CATALOGUE.columns, *line_column_names(CATALOGUE), *line_column_names(features), *features.columns}
        left_out = self._catalogue().declaration_of.keys() - features.declaration_of.keys()
        check_columns(policy, shipped | {name for name, kind in features.attributes if kind != "text"}, left_out)

    def _catalogue(self) -> FeatureSet:
        present = self.events.present()
        return CATALOGUE.for_sources(tuple(source for source in EVENT_SOURCES if source in present))


def default_policy() -> Policy:
    """The policy that ships with limitlens."""
    return read_policy(_CONF / "policy.toml")


def default_scenarios() -> Path:
    """The file of the stress scenarios that ship with limitlens."""
    return _CONF / "stress.toml"


def default_settings() -> TrainSettings:
    """The training settings that ship with limitlens."""
    return read_settings(_CONF / "train.toml")
