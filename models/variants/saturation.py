"""Detects processors on which sums of 8-bit products saturate, and adapts networks to them."""

import functools
from pathlib import Path

import numpy as np

from models.variants.description import import_package

DEPTH = 8
BRIGHTEST, LARGEST_WEIGHT = 255, 127


@functools.cache
def has_saturating_sums() -> bool:
    """Return whether ONNX Runtime saturates sums of products of uint8 activations and int8 weights on this processor.

    x86 processors with AVX2 or AVX-512 but without VNNI add pairs of products in 16 bits (`vpmaddubsw`). Two products
    of large values exceed 32767 and are clipped, so a network with 8-bit weights loses several points of accuracy. The
    function multiplies small matrices instead of reading the processor's name, so that it tests the kernels which
    ONNX Runtime selects.

    Raises:
        MissingPackage: onnx or onnxruntime is not installed.
    """
    onnx, runtime = import_package("onnx"), import_package("onnxruntime")
    build, types = onnx.helper, onnx.TensorProto
    weights = np.full((DEPTH, 1), LARGEST_WEIGHT, np.int8)
    graph = build.make_graph(
        [build.make_node("MatMulInteger", ["activations", "weights"], ["sums"])],
        "saturation",
        [build.make_tensor_value_info("activations", types.UINT8, [1, DEPTH])],
        [build.make_tensor_value_info("sums", types.INT32, [1, 1])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = build.make_model(graph, opset_imports=[build.make_opsetid("", 13)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    sums = session.run(None, {"activations": np.full((1, DEPTH), BRIGHTEST, np.uint8)})[0]
    return int(sums[0, 0]) != DEPTH * BRIGHTEST * LARGEST_WEIGHT


def read_with_unsigned_weights(path: Path) -> bytes:
    """Return a quantized ONNX file with its int8 weights stored as uint8, shifted by 128 like their zero points.

    The network is the same, but ONNX Runtime adds products of two unsigned numbers in 32 bits: slower, but exact on
    every processor. ONNX Runtime's own option for this, `session.x64quantprecision`, cannot load some networks.

    Raises:
        MissingPackage: onnx is not installed.
    """
    onnx = import_package("onnx")
    model = onnx.load(path)
    nodes = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    weights = {name for node in nodes for name in (node.input[0], *node.input[2:])}
    for tensor in model.graph.initializer:
        if tensor.name in weights and tensor.data_type == onnx.TensorProto.INT8:
            unsigned = (onnx.numpy_helper.to_array(tensor).astype(np.int16) + 128).astype(np.uint8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(unsigned, tensor.name))
    content: bytes = model.SerializeToString()
    return content
