"""Callbacks of the training loop."""

from worker.engine.callbacks.confusion_matrix import ConfusionMatrix
from worker.engine.callbacks.csv_logger import CsvLogger
from worker.engine.callbacks.early_stopping import EarlyStopping
from worker.engine.callbacks.freeze import Freeze
from worker.engine.callbacks.keep_best import KeepBest
from worker.engine.callbacks.lr_scheduler import (
    BatchLrScheduler,
    EpochLrScheduler,
    LrSchedulerCallback,
    PlateauLrScheduler,
)
from worker.engine.callbacks.model_checkpoint import ModelCheckpoint
from worker.engine.callbacks.non_finite_guard import NonFiniteGuard, TrainingDiverged
from worker.engine.callbacks.tensorboard import TensorBoard
from worker.engine.callbacks.time_limit import TimeLimit
from worker.engine.callbacks.validation_samples import ValidationSamples
from worker.engine.callbacks.worst_samples import WorstSamples

__all__ = [
    "BatchLrScheduler",
    "ConfusionMatrix",
    "CsvLogger",
    "EarlyStopping",
    "EpochLrScheduler",
    "Freeze",
    "KeepBest",
    "LrSchedulerCallback",
    "ModelCheckpoint",
    "NonFiniteGuard",
    "PlateauLrScheduler",
    "TensorBoard",
    "TimeLimit",
    "TrainingDiverged",
    "ValidationSamples",
    "WorstSamples",
]
