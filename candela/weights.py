"""Converts PyTorch weights files to safetensors files. It requires torch, and torchvision to check the names."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError  # nosec B403
from typing import TYPE_CHECKING, Any, NamedTuple

from candela.errors import CandelaError

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # outputs that GoogLeNet and Inception use only in their own training
COUNTER = "num_batches_tracked"
MAX_NAMES = 20
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\.safetensors")
# Names in the files of torchvision's DenseNets, which are older than its code.
OLD_DENSE_LAYER = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:\w+))$")


class Conversion(NamedTuple):
    """A written file. `num_outputs` and `channels` are those of the network; None if the names were not checked."""

    path: Path
    num_tensors: int
    num_bytes: int
    num_outputs: int | None
    channels: int | None
    dropped: list[str]


class WeightsComparison(NamedTuple):
    """The tensors of a file that do not fit the architecture, and what the file says about the network."""

    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]
    num_outputs: int
    channels: int


def convert_weights(
    source: Path,
    target: Path | None,
    architecture: str,
    *,
    image_size: int | None = None,
    is_checked: bool = True,
    is_partial: bool = False,
) -> Conversion:
    """Convert a `.pth` or `.pt` file. The pickled data is read without running code (`weights_only=True`).

    Args:
        source: a file with a state dict, or with a dictionary that contains one.
        target: the file to write; default: the name of the source with the suffix `.safetensors`.
        architecture: the name of the architecture in torchvision and in `GET /v1/catalog`.
        image_size: the side of the images, for vision transformers; default: that of torchvision.
        is_checked: whether the names and shapes are compared with the architecture.
        is_partial: whether tensors that do not fit are left out instead of refused.

    Raises:
        CandelaError: a package is missing, or the file cannot be read or does not fit the architecture.
    """
    target = target or source.with_suffix(".safetensors")
    if not FILE_NAME.fullmatch(target.name):
        raise CandelaError(
            f"{target.name!r} is not a name that `weights` accepts: use letters, digits and . _ - with the suffix "
            ".safetensors; choose a name with --output"
        )
    tensors = {_modernize(name): tensor for name, tensor in read_state_dict(source).items()}
    comparison, dropped = None, list[str]()
    if is_checked:
        comparison = compare_with_architecture(tensors, architecture, image_size)
        if not is_partial:
            _require_match(source, architecture, comparison)
        dropped = [*comparison.unexpected, *comparison.mismatched]
        dropped += [name for name in tensors if name.startswith(AUXILIARY) and name not in dropped]
        tensors = {name: tensor for name, tensor in tensors.items() if name not in dropped}
    if not tensors:
        raise CandelaError(f"{source}: no tensor fits the architecture {architecture!r}")
    _write(tensors, target)
    num_bytes = target.stat().st_size
    num_outputs, channels = (None, None) if comparison is None else (comparison.num_outputs, comparison.channels)
    return Conversion(target, len(tensors), num_bytes, num_outputs, channels, dropped)


def read_state_dict(path: Path) -> dict[str, "Tensor"]:
    """Return the tensors of a file, without the prefix of `DataParallel` or `torch.compile`.

    Raises:
        CandelaError: torch is not installed, or the file contains no state dict.
    """
    torch = _import("torch", "to read PyTorch files")
    try:
        with warnings.catch_warnings(action="ignore"):  # about old formats, which it reads nevertheless
            document = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CandelaError(
            f"{path} contains Python objects, which are not read because they can run code. Save only the weights: "
            f"torch.save(model.state_dict(), 'weights.pth'). {_get_first_line(error)}"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise CandelaError(f"{path} is not a PyTorch file, or it is damaged: {_get_first_line(error)}") from error
    return _strip_prefixes(_find_tensors(path, document, torch.Tensor))


def compare_with_architecture(
    tensors: Mapping[str, "Tensor"], architecture: str, image_size: int | None = None
) -> WeightsComparison:
    """Compare the names and shapes of tensors with an architecture of torchvision.

    The network is built with the number of outputs and of input channels of the file, so that these never differ.

    Raises:
        CandelaError: torchvision is not installed, or has no such architecture.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    two, three = (_build_shapes(architecture, outputs, image_size) for outputs in (2, 3))
    head = [name for name in two if two[name] != three[name]]
    outputs = next((shapes[name][0] for name in head if shapes.get(name)), 1000)
    expected = _build_shapes(architecture, outputs, image_size)
    first = next(name for name, shape in expected.items() if len(shape) == 4)  # a convolution
    channels = shapes[first][1] if len(shapes.get(first, ())) == 4 else 3
    expected[first] = (expected[first][0], channels, *expected[first][2:])
    return WeightsComparison(
        missing=[name for name in expected if name not in shapes and not name.endswith(COUNTER)],
        unexpected=[name for name in shapes if name not in expected and not name.startswith(AUXILIARY)],
        mismatched=[name for name, shape in expected.items() if shapes.get(name, shape) != shape],
        num_outputs=outputs,
        channels=channels,
    )


def _build_shapes(architecture: str, outputs: int, image_size: int | None) -> dict[str, tuple[int, ...]]:
    torch = _import("torch", "to build the architecture")
    models = _import("torchvision", "to check the names against the architecture; --no-check skips this").models
    existing = models.list_models(module=models)
    if architecture not in existing:
        close = get_close_matches(architecture, existing, n=3) or ["resnet18"]
        raise CandelaError(
            f"{architecture!r} is not a classifier of torchvision; similar names: {', '.join(close)}. With --no-check, "
            "the file is converted without comparing its names"
        )
    options: dict[str, Any] = {}
    if architecture in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    elif image_size is not None and architecture.startswith("vit"):
        options = {"image_size": image_size}
    elif image_size is not None and architecture.startswith("maxvit"):
        options = {"input_size": (image_size, image_size)}
    # RegNets compute their widths with tensors, which have no values on the device `meta`.
    with torch.device("cpu" if architecture.startswith("regnet") else "meta"):
        network = models.get_model(architecture, weights=None, num_classes=outputs, **options)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _find_tensors(path: Path, document: Any, tensor_type: type) -> dict[str, "Tensor"]:  # noqa: ANN401 - any object
    if not isinstance(document, Mapping):
        raise CandelaError(f"{path} contains a {type(document).__name__}, not a dictionary of tensors (a state dict)")
    for key in WRAPPERS:
        if isinstance(document.get(key), Mapping):
            return _find_tensors(path, document[key], tensor_type)
    others = [str(name) for name, value in document.items() if not isinstance(value, tensor_type)]
    if others or not document:
        raise CandelaError(
            f"{path} contains no state dict: a dictionary of tensors is expected, also under one of the keys "
            f"{', '.join(WRAPPERS)}; these values are not tensors: {_format_names(others) or 'it is empty'}"
        )
    return {str(name): tensor for name, tensor in document.items()}


def _strip_prefixes(tensors: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    for prefix in (*PREFIXES, *PREFIXES):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _modernize(name: str) -> str:
    match = OLD_DENSE_LAYER.match(name)
    return f"{match[1]}{match[2]}" if match else name


def _require_match(source: Path, architecture: str, found: WeightsComparison) -> None:
    lines = [
        f"  {len(names)} {kind}: {_format_names(names)}"
        for kind, names in (
            ("missing", found.missing),
            ("unexpected", found.unexpected),
            ("of another shape", found.mismatched),
        )
        if names
    ]
    if lines:
        tensors = "\n".join(lines)
        raise CandelaError(
            f"{source} does not fit the architecture {architecture!r}. Tensors:\n{tensors}\n"
            "With --partial, only the tensors that fit are converted; a training can start from them"
        )


def _write(tensors: Mapping[str, "Tensor"], target: Path) -> None:
    torch, safetensors = _import("torch", ""), _import("safetensors.torch", "to write the file")
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise CandelaError(f"these tensors contain values that are not finite: {_format_names(broken)}")
    # Copies, because tensors that share memory, such as tied weights, cannot be written.
    copies = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    part = target.with_name(f".{target.name}.part")
    save: Callable[..., None] = safetensors.save_file
    try:
        save(copies, part)
        part.replace(target)  # readers never see half a file
    finally:
        part.unlink(missing_ok=True)


def _import(name: str, purpose: str) -> Any:  # noqa: ANN401 - a module
    import importlib

    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise CandelaError(
            f"{package} is required {purpose}; install it, for example: pip install {package}"
        ) from error


def _format_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _get_first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
