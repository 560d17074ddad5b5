from .calibration import Calibration as Calibration
from .change import change_of_score as change_of_score
from .classifier import DefaultRiskClassifier as DefaultRiskClassifier
from .default_risk import DefaultRiskModel as DefaultRiskModel
from .default_risk import load_model as load_model
from .default_risk import predict_pd as predict_pd
from .default_risk import save_model as save_model
from .explanation import reason_codes as reason_codes
from .explanation import shap_values as shap_values
from .false_positives import contrast as contrast
from .labels import computed_labels as computed_labels
from .labels import delivered_labels as delivered_labels
from .settings import TrainSettings as TrainSettings
from .settings import read_settings as read_settings
from .training import train_model as train_model
from .validation import calibration_by as calibration_by
from .validation import jeffreys_test as jeffreys_test
from .validation import measure as measure
from .validation import paired_auc_gain as paired_auc_gain

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
