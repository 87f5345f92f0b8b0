"""The import options that determine the size of images and how they are resized."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from core.resizing import BLACK, MAX_IMAGE_SIDE, Interpolation, ResizeMode, ResizePolicy
from core.spec.base import FieldError, Spec
from core.spec.error_reasons import shorten

_SIDE = r"([1-9][0-9]{0,2}|[1-3][0-9]{3}|40[0-8][0-9]|409[0-6])"  # 1 to 4096
_BYTE = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IMAGE_SIZE = rf"^{_SIDE}(x{_SIDE})?$"
_COLOR = rf"^(#[0-9a-fA-F]{{6}}|{_BYTE}|{_BYTE},{_BYTE},{_BYTE})$"  # a color as text, or one of its three integers
_COLOR_RULE = "must be #rrggbb or three integers from 0 to 255"
_MAX_RECIPE = 63  # characters of the name of an architecture


def _check_image_size(value: str) -> str:
    if re.fullmatch(_IMAGE_SIZE, value) is None:
        raise PydanticCustomError(
            "image_size", f"must be a side, such as 64, or height x width, such as 48x64; each 1 to {MAX_IMAGE_SIDE}"
        )
    return value


def _check_color(value: str) -> str:
    if re.fullmatch(_COLOR, value) is None:
        raise PydanticCustomError("color", _COLOR_RULE)
    return value


ImageSizeText = Annotated[
    str, AfterValidator(_check_image_size), WithJsonSchema({"type": "string", "pattern": _IMAGE_SIZE})
]
ColorText = Annotated[str, AfterValidator(_check_color), WithJsonSchema({"type": "string", "pattern": _COLOR})]


def parse_color(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a color as three integers. Values of any other form are returned unchanged; the type refuses them."""
    match value:
        case str() if re.fullmatch(r"#[0-9a-fA-F]{6}", value):
            return tuple(bytes.fromhex(value[1:]))
        case str() if re.fullmatch(rf"{_BYTE},{_BYTE},{_BYTE}", value):
            return tuple(map(int, value.split(",")))
        case list():
            return parse_color(value[0]) if len(value) == 1 else tuple(int(v) if _is_byte(v) else v for v in value)
        case _:
            return value


def _is_color(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, tuple) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value)


def _is_byte(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, str) and re.fullmatch(_BYTE, value) is not None


Byte = Annotated[int, Field(ge=0, le=255)]
PadColor = Annotated[
    tuple[Byte, Byte, Byte],
    Field(strict=False),
    BeforeValidator(parse_color),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": rf"^(#[0-9a-fA-F]{{6}}|{_BYTE},{_BYTE},{_BYTE})$"},
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0, "maximum": 255},
                    "minItems": 3,
                    "maxItems": 3,
                },
            ]
        },
        mode="validation",
    ),
]


class ResizeOptions(Spec):
    """Options that determine the size of images and how they are resized."""

    image_size: ImageSizeText | None = Field(
        default=None,
        description="The size to which images are resized, in pixels: `64` for a square, or height x width, such as "
        "`48x64`. At most 4096 pixels per side; all images of a version together may need at most 4 times "
        "CANDELA_MAX_UNPACKED_BYTES. Default: the size that at least half of the images have. If there is none: a "
        "square whose side is the median of the images' shorter sides, at most 224.",
    )
    resize: ResizeMode = Field(
        default="stretch",
        description="`stretch` ignores the aspect ratio. `crop` scales the image until it covers `image_size`, and "
        "crops the center. `pad` scales the image until it fits, and fills the rest with `pad_color`. Default: "
        "`stretch`, or `crop` with `resize_shorter_side`.",
    )
    resize_shorter_side: Annotated[int, Field(ge=1, le=MAX_IMAGE_SIDE)] | None = Field(
        default=None,
        description="With `crop`: scale the shorter side to this number of pixels before the center is cropped, as the "
        "evaluation of published networks does. Requires `image_size`, and must not be smaller than its longer side.",
    )
    pad_color: PadColor = Field(
        default=BLACK,
        description="The color that `pad` adds: `#rrggbb`, or three integers from 0 to 255 for red, green and blue. "
        "Default: black. Grey images get its luma.",
    )
    interpolation: Interpolation | None = Field(
        default=None,
        description="`area` averages pixels when an image shrinks; `bilinear` and `bicubic` are those of Pillow. "
        "Default: `area`, or `bilinear` with `resize_shorter_side`.",
    )
    recipe: Annotated[str, Field(min_length=1, max_length=_MAX_RECIPE)] | None = Field(
        default=None,
        description="The name of an architecture with published weights, such as `efficientnet_lite0` or `resnet50`. "
        "Sets all other options of the size and of resizing to those with which its accuracy was measured.",
    )

    @property
    def size(self) -> tuple[int, int] | None:
        """The height and width of `image_size`, or None if there is none."""
        return None if self.image_size is None else parse_image_size(self.image_size)

    @property
    def policy(self) -> ResizePolicy:
        """How images are resized."""
        default = "area" if self.resize_shorter_side is None else "bilinear"
        return ResizePolicy(self.resize, self.resize_shorter_side, self.pad_color, self.interpolation or default)


def parse_image_size(image_size: str) -> tuple[int, int]:
    """Return the height and width of an `image_size`, such as `64` or `48x64`."""
    height, _, width = image_size.partition("x")
    return int(height), int(width or height)


def complete_options(requested: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a client with the default of `resize`, which depends on `resize_shorter_side`."""
    options = dict(requested)
    if options.get("resize_shorter_side") is not None:
        options.setdefault("resize", "crop")
    return options


def find_conflicts(options: Mapping[str, Any]) -> list[FieldError]:
    """Return the options that contradict each other: pairs of a name and a reason. The types have been checked."""
    shorter_side, size, mode = (options.get(name) for name in ("resize_shorter_side", "image_size", "resize"))
    conflicts: list[FieldError] = []
    if shorter_side is not None:
        if mode not in (None, "crop"):
            conflicts.append(("resize", f"must be crop with resize_shorter_side, got {mode}"))
        if size is None:
            conflicts.append(("resize_shorter_side", "requires image_size, the size of the crop"))
        elif shorter_side < max(parse_image_size(size)):
            longer = max(parse_image_size(size))
            conflicts.append(
                ("resize_shorter_side", f"must be at least {longer}, the longer side of image_size; got {shorter_side}")
            )
    color = options.get("pad_color")
    if color is not None and not _is_color(parse_color(color)):
        conflicts.append(("pad_color", f"{_COLOR_RULE}, got {shorten(color)}"))
    elif color is not None and mode != "pad":
        conflicts.append(("pad_color", f"requires resize=pad, got {mode or 'stretch'}"))
    return conflicts
