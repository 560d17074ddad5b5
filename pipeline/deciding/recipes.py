"""Recipes: an iteration as plain texts, parsed where it is needed if they are the recorded ones."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from limitlens.data.errors import IntegrityError
from limitlens.data.storage import write_text
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy_file import parse_policy
from limitlens.models.default_risk import load_model
from limitlens.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Recipe:
    """An iteration as plain texts, with the digests that they must have."""

    version: str
    model_digest: str
    policy_digest: str
    files: tuple[tuple[str, str], ...]
    policy: str


def recipe_of(workspace: Workspace, version: str, policy_digest: str) -> Recipe:
    """The texts of a registered model and a recorded policy, as they stand; whoever reads them checks the digests."""
    registered = workspace.registry.model(version)
    folder = workspace.root / registered.folder
    paths = [folder / "model.json", *sorted(folder.glob("*.txt"))]
    files = tuple((path.name, path.read_text(encoding="utf-8")) for path in paths)
    return Recipe(version, registered.model_digest, policy_digest, files, workspace.registry.policy_text(policy_digest))


@lru_cache(maxsize=8)
def iteration_of(recipe: Recipe) -> Iteration:
    """The iteration of some texts.

    Raises
    ------
    IntegrityError
        A text is not the one that was recorded.
    """
    with TemporaryDirectory(prefix="limitlens-model-") as folder:
        for name, text in recipe.files:
            write_text(text, Path(folder) / name)
        model = load_model(Path(folder), digest=recipe.model_digest)
    policy = parse_policy(recipe.policy)
    if policy.digest != recipe.policy_digest:
        raise IntegrityError(f"policy {recipe.policy_digest[:12]} is not the policy that was recorded; restore it.")
    return Iteration(model, policy, recipe.version)
