"""The registry: models and policies, who signed, promoted or withdrew a version, and why; it only grows."""

from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path

from limitlens.data.errors import WorkspaceError
from limitlens.limits.database import connect, reading
from limitlens.limits.records import record
from limitlens.limits.signers import sign


@dataclass(frozen=True)
class RegisteredModel:
    """A model version: digests, its folder below the workspace, the MLflow run and the person that made it."""

    model_version: str
    model_digest: str
    policy_digest: str
    folder: str
    mlflow_run_id: str
    developer: str


@dataclass(frozen=True)
class Promotion:
    """A version that became the champion: by whom, how (see :meth:`Registry.record_promotion`), when, and why."""

    model_version: str
    reviewer: str
    kind: str
    promoted_at: str
    approver: str
    reason: str


@dataclass(frozen=True)
class SignOff:
    """What a reviewer signed of a version: the sha256 of what was there, the verdict, by whom, why, and when."""

    model_version: str
    sha256: str
    verdict: str
    actor: str
    reason: str
    signed_at: str


@dataclass(frozen=True)
class Registry:
    """The registry of one workspace folder."""

    workspace: Path

    def record_policy(self, digest: str, text: str) -> None:
        """Keep the text of a policy, so that its decisions can be replayed."""
        with connect(self.workspace) as connection:
            connection.execute("INSERT OR IGNORE INTO policies VALUES (?, ?)", [digest, text])
            record(connection, self.workspace, "policy", names=[digest])

    def policies(self) -> list[str]:
        """Digest of every recorded policy."""
        with reading(self.workspace) as connection:
            return [row[0] for row in connection.execute("SELECT policy_digest FROM policies ORDER BY rowid")]

    def policy_text(self, digest: str) -> str:
        """Text of a recorded policy."""
        with reading(self.workspace) as connection:
            row = connection.execute("SELECT text FROM policies WHERE policy_digest = ?", [digest]).fetchone()
        if row is None:
            raise WorkspaceError(f"policy {digest[:12]} is not in the registry of {self.workspace}.")
        return str(row[0])

    def record_model(self, model: RegisteredModel) -> None:
        """Keep where a registered model version lies and which digest it has."""
        with connect(self.workspace) as connection:
            connection.execute("INSERT INTO models VALUES (?, ?, ?, ?, ?, ?)", list(astuple(model)))
            record(connection, self.workspace, "model", "files of model", names=[model.model_version])
            sign(connection, model.developer, ("model", model.model_version))

    def models(self) -> list[RegisteredModel]:
        """Every registered model version, oldest first."""
        with reading(self.workspace) as connection:
            return [RegisteredModel(*row) for row in connection.execute("SELECT * FROM models ORDER BY rowid")]

    def model(self, version: str) -> RegisteredModel:
        """One registered model version."""
        by_version = {model.model_version: model for model in self.models()}
        if version not in by_version:
            mend = f"expected one of {sorted(by_version)}" if by_version else "none does yet, run limitlens train first"
            raise WorkspaceError(f"model version {version!r} does not exist; {mend}.")
        return by_version[version]

    def record_promotion(
        self,
        version: str,
        reviewer: str,
        kind: str,
        promoted_at: datetime,
        *,
        approver: str | None = None,
        reason: str | None = None,
        key: bytes | None = None,
    ) -> None:
        """Note who promoted which version and how.

        Parameters
        ----------
        kind : str
            ``bootstrap`` (the first), ``review``, ``override`` (above the budget) or ``rollback``.
        approver, reason : str, optional
            Who let it pass, and why: of an override and a rollback, and of a review whose reason was given.
        key : bytes, optional
            Private key as PEM of the one who lets it pass, or else of the reviewer.
        """
        with connect(self.workspace) as connection:
            cursor = connection.execute(
                "INSERT INTO promotions (model_version, reviewer, kind, promoted_at) VALUES (?, ?, ?, ?)",
                [version, reviewer, kind, promoted_at.isoformat()],
            )
            if approver and reason:
                connection.execute(
                    "INSERT INTO promotion_reasons VALUES (?, ?, ?)", [cursor.lastrowid, approver, reason]
                )
            name = str(cursor.lastrowid)
            record(connection, self.workspace, "promotion", names=[name])
            sign(connection, approver or reviewer, ("promotion", name), key)

    def promotions(self) -> list[Promotion]:
        """Every promotion, in order: the champion is that of the last."""
        sql = """
        SELECT model_version, reviewer, kind, promoted_at, COALESCE(approver, ''), COALESCE(reason, '')
        FROM promotions LEFT JOIN promotion_reasons ON promotion = id ORDER BY id
        """
        with reading(self.workspace) as connection:
            return [Promotion(*row) for row in connection.execute(sql)]

    def champion(self) -> str | None:
        """Version of the model promoted last, or None before the first promotion."""
        promotions = self.promotions()
        return promotions[-1].model_version if promotions else None

    def record_withdrawal(self, version: str, actor: str, reason: str, withdrawn_at: datetime) -> None:
        """Note that a version may not score any more; its old decisions can still be replayed."""
        with connect(self.workspace) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO withdrawals VALUES (?, ?, ?, ?)",
                [version, actor, reason, withdrawn_at.isoformat()],
            )
            record(connection, self.workspace, "withdrawal", names=[version])
            sign(connection, actor, ("withdrawal", version))

    def withdrawn(self) -> dict[str, str]:
        """Reason of every withdrawn version."""
        with reading(self.workspace) as connection:
            return dict(connection.execute("SELECT model_version, reason FROM withdrawals").fetchall())

    def record_sign_off(self, signed: SignOff, key: bytes | None = None) -> None:
        """Note what a reviewer signed.

        Parameters
        ----------
        signed : SignOff
        key : bytes, optional
            Private key of the reviewer, as PEM.
        """
        with connect(self.workspace) as connection:
            cursor = connection.execute(
                "INSERT INTO sign_offs (model_version, sha256, verdict, actor, reason, signed_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                list(astuple(signed)),
            )
            name = str(cursor.lastrowid)
            record(connection, self.workspace, "sign-off", names=[name])
            sign(connection, signed.actor, ("sign-off", name), key)

    def sign_offs(self, version: str) -> dict[int, SignOff]:
        """Everything that was signed of a version, by number, in order."""
        sql = """
        SELECT id, model_version, sha256, verdict, actor, reason, signed_at
        FROM sign_offs WHERE model_version = ? ORDER BY id
        """
        with reading(self.workspace) as connection:
            return {number: SignOff(*row) for number, *row in connection.execute(sql, [version])}
