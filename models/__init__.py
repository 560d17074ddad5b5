"""What it means: default risk, its calibration and validation, explanations, false positives."""

from limitlens.models.calibration import Calibration, calibration_by, jeffreys_test
from limitlens.models.change import change_of_score
from limitlens.models.classifier import DefaultRiskClassifier
from limitlens.models.default_risk import DefaultRiskModel, load_model, predict_pd, save_model, train_model
from limitlens.models.explanation import reason_codes, shap_values
from limitlens.models.false_positives import contrast
from limitlens.models.labels import computed_labels, delivered_labels
from limitlens.models.settings import TrainSettings, read_settings
from limitlens.models.validation import measure, paired_auc_gain

__all__ = [
    "Calibration",
    "DefaultRiskClassifier",
    "DefaultRiskModel",
    "TrainSettings",
    "calibration_by",
    "change_of_score",
    "computed_labels",
    "contrast",
    "delivered_labels",
    "jeffreys_test",
    "load_model",
    "measure",
    "paired_auc_gain",
    "predict_pd",
    "read_settings",
    "reason_codes",
    "save_model",
    "shap_values",
    "train_model",
]
