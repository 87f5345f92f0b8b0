"""What may be hung into the loop: one file each."""

from worker.engine.callbacks.confusion_matrix import ConfusionMatrix
from worker.engine.callbacks.csv_logger import CsvLogger
from worker.engine.callbacks.early_stopping import EarlyStopping
from worker.engine.callbacks.freeze import Freeze, NoTrainableParameters
from worker.engine.callbacks.keep_best import KeepBest
from worker.engine.callbacks.lr_scheduler import BatchSchedule, EpochSchedule, PlateauSchedule, Schedule
from worker.engine.callbacks.model_checkpoint import ModelCheckpoint
from worker.engine.callbacks.non_finite_guard import Diverged, NonFiniteGuard
from worker.engine.callbacks.tensorboard import TensorBoard
from worker.engine.callbacks.time_limit import TimeLimit
from worker.engine.callbacks.validation_samples import ValidationSamples
from worker.engine.callbacks.worst_samples import WorstSamples

__all__ = [
    "BatchSchedule",
    "ConfusionMatrix",
    "CsvLogger",
    "Diverged",
    "EarlyStopping",
    "EpochSchedule",
    "Freeze",
    "KeepBest",
    "ModelCheckpoint",
    "NoTrainableParameters",
    "NonFiniteGuard",
    "PlateauSchedule",
    "Schedule",
    "TensorBoard",
    "TimeLimit",
    "ValidationSamples",
    "WorstSamples",
]
