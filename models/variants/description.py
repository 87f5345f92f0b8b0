"""What a variant's files say of themselves: `variant.json`, beside the bundle's own `bundle.json`."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Format = Literal["onnx", "int8", "openvino", "torch-compile", "torch-export"]
Precision = Literal["fp32", "bf16", "int8"]
FORMATS: tuple[Format, ...] = get_args(Format)
SERVED: tuple[Format, ...] = ("onnx", "int8", "openvino", "torch-compile")
DOWNLOADS: dict[Format, str] = {
    "onnx": "network.onnx",
    "int8": "network.onnx",
    "openvino": "network.xml",
    "torch-compile": "weights.safetensors",
    "torch-export": "network.pt2",
}
"""The file of each format that holds the network, or its structure."""
DESCRIPTION = "variant.json"
INPUT, OUTPUT = "pixels", "scores"
_PACKAGES: dict[Format, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "int8": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "torch-compile": ("torch",),
    "torch-export": ("torch",),
}


class MissingPackage(RuntimeError):
    """A variant needs a package that is not installed here."""


class VariantDescription(BaseModel):
    """What is needed to run the files, and with what they were made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    format: Format
    precision: Precision
    made_with: dict[str, str] = Field(default_factory=dict, description="Versions of the packages.")


def describe(kind: Format, precision: Precision) -> VariantDescription:
    """The description of what this machine makes.

    Raises:
        MissingPackage: it cannot make that.
    """
    try:
        made_with = {package: version(package) for package in _PACKAGES[kind]}
    except PackageNotFoundError as error:
        raise _missing(str(error.name)) from None
    return VariantDescription(format=kind, precision=precision, made_with=made_with)


def package(name: str) -> Any:  # noqa: ANN401 - modules without types
    """An optional package, imported when it is needed.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        module: ModuleType = importlib.import_module(name)
    except ModuleNotFoundError:
        raise _missing(name.partition(".")[0]) from None
    return module


def _missing(name: str) -> MissingPackage:
    return MissingPackage(f"the package {name!r} is not installed here; `pip install candela[serving]` brings it")
