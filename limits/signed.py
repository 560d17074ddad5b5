"""What a reviewer signs of a version, and whether what was signed is what is there."""

import hashlib
import json
from pathlib import Path

from limitlens.data.errors import IntegrityError
from limitlens.data.storage import file_sha256
from limitlens.limits.registry import RegisteredModel, Registry

#: Name of the model card in the folder of a model; a version of before there were cards has none.
CARD = "card.json"


def signable(workspace: Path, model: RegisteredModel) -> str:
    """Sha256 over what a reviewer signs: version, digests of model and policy, sha256 of validation and card.

    Parameters
    ----------
    workspace : Path
    model : RegisteredModel

    Raises
    ------
    IntegrityError
        The file of the validation is gone.
    """
    folder = workspace / model.folder
    path = folder / "validation.json"
    if not path.is_file():
        raise IntegrityError(f"{path} is gone; restore it from a backup.")
    content = [model.model_version, model.model_digest, model.policy_digest, file_sha256(path)]
    if (folder / CARD).is_file():
        content.append(file_sha256(folder / CARD))
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def expect_signed(workspace: Path) -> None:
    """Check that whatever was signed off is still what was signed.

    Raises
    ------
    IntegrityError
        Names the first sign-off that is about something else.
    """
    registry = Registry(workspace)
    for model in registry.models():
        for number, signed in registry.sign_offs(model.model_version).items():
            if signed.sha256 != signable(workspace, model):
                raise IntegrityError(
                    f"{workspace}: sign-off {number}: what {signed.actor} signed of version {model.model_version} is "
                    "not what is there: its model, policy, validation or card is another one; restore it from a backup."
                )
