"""Defines the file `variant.json`, which describes a variant and is stored in the same folder as `bundle.json`."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Format = Literal["onnx", "int8", "openvino", "torch-compile", "torch-export"]
Precision = Literal["fp32", "bf16", "int8"]
WeightBits = Literal[7, 8]
FORMATS: tuple[Format, ...] = get_args(Format)
SERVED: tuple[Format, ...] = ("onnx", "int8", "openvino", "torch-compile")
DOWNLOADS: dict[Format, str] = {
    "onnx": "network.onnx",
    "int8": "network.onnx",
    "openvino": "network.xml",
    "torch-compile": "weights.safetensors",
    "torch-export": "network.pt2",
}
"""The main file of each format, which clients can download."""
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
    """A variant requires a package that is not installed."""


class VariantDescription(BaseModel):
    """The content of `variant.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    format: Format
    precision: Precision
    weight_bits: WeightBits | None = Field(
        default=None,
        description="Number of bits of the weights of `int8`: 7 where sums of 8-bit products saturate, otherwise 8. "
        "None: another format, or a variant from before this field, with 8 bits.",
    )
    made_with: dict[str, str] = Field(
        default_factory=dict, description="Versions of the packages that wrote the files."
    )


def describe_variant(kind: Format, precision: Precision, weight_bits: WeightBits | None = None) -> VariantDescription:
    """Return the description of a variant, with the versions of the installed packages that create it.

    Raises:
        MissingPackage: a package that creates the variant is not installed.
    """
    try:
        made_with = {package: version(package) for package in _PACKAGES[kind]}
    except PackageNotFoundError as error:
        raise _missing_package_error(str(error.name)) from None
    return VariantDescription(format=kind, precision=precision, weight_bits=weight_bits, made_with=made_with)


def import_package(name: str) -> Any:  # noqa: ANN401 - the packages have no type hints
    """Import an optional package.

    Raises:
        MissingPackage: the package is not installed.
    """
    try:
        module: ModuleType = importlib.import_module(name)
    except ModuleNotFoundError:
        raise _missing_package_error(name.partition(".")[0]) from None
    return module


def _missing_package_error(name: str) -> MissingPackage:
    return MissingPackage(f"the package {name!r} is not installed; run `pip install -e '.[serving]'` in the repository")
