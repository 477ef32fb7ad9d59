"""Small ONNX models made by hand, for what a trained one does not do: take long, take memory, take whole numbers."""

from typing import Any

from onnx import TensorProto, helper


def _bytes(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any] = []) -> bytes:  # noqa: B006
    graph = helper.make_graph(nodes, "made by hand", inputs, outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _whole(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.INT64, shape)


def doubles(factor: int = 2) -> bytes:
    """`X` INT64 [-1] to `Y` INT64 [-1], times ``factor``; another factor is another version."""
    constant = helper.make_tensor("factor", TensorProto.INT64, [1], [factor])
    return _bytes(
        [helper.make_node("Mul", ["X", "factor"], ["Y"])], [_whole("X", ["n"])], [_whole("Y", ["n"])], [constant]
    )


def turns(salt: int = 1) -> bytes:
    """`X` INT64 [1]: goes round that often before it answers in `Y`; how a call takes as long as one wants."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Add", ["sum", "salt"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            _whole("sum", [1]),
        ],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, []), _whole("next", [1])],
    )
    nodes = [
        helper.make_node("Squeeze", ["X", "axis"], ["count"]),
        helper.make_node("Loop", ["count", "", "start"], ["Y"], body=body),
    ]
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [0]),
        helper.make_tensor("start", TensorProto.INT64, [1], [0]),
        helper.make_tensor("salt", TensorProto.INT64, [1], [salt]),
    ]
    return _bytes(nodes, [_whole("X", [1])], [_whole("Y", [1])], constants)


def fills() -> bytes:
    """`X` INT64 [1]: makes that many numbers and sums them up in `Y`; how a call takes as much memory as one wants."""
    nodes = [
        helper.make_node(
            "ConstantOfShape", ["X"], ["many"], value=helper.make_tensor("one", TensorProto.INT64, [1], [1])
        ),
        helper.make_node("ReduceSum", ["many"], ["sum"], keepdims=0),
        helper.make_node("Reshape", ["sum", "shape"], ["Y"]),
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [1])
    return _bytes(nodes, [_whole("X", [1])], [_whole("Y", [1])], [shape])
