from .calibration import Calibration
from .change import change_of_score
from .classifier import DefaultRiskClassifier
from .default_risk import DefaultRiskModel, load_model, predict_pd, save_model
from .explanation import reason_codes, shap_values
from .false_positives import contrast
from .labels import computed_labels, delivered_labels
from .settings import TrainSettings, read_settings
from .training import train_model
from .validation import calibration_by, jeffreys_test, measure, paired_auc_gain

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
