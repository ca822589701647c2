#!/usr/bin/env python3
"""Write compiler/src/import/opdefs.tsv: the interfaces of TensorFlow's ops, from an installed TensorFlow.

    python tools/gen_opdefs.py [--check]

One op a line, columns separated by tabs:
    name  inputs  outputs  attributes  flags
Arguments are `name:type`, separated by commas; a type is
    T         the value of the attribute T           float     a fixed type
    N*T       N (an attribute) tensors of one type   @Tlist    a tensor for each type in the attribute Tlist
and begins with `&` if the tensor is a reference. An attribute that has the name of a fixed type is not
possible: attributes that do are refused here.
Attributes are `name:kind` or `name:kind=default`, separated by semicolons. Defaults: `true`, an integer, a
float in decimal, text with everything but [A-Za-z0-9_.:/-] as %XX, a type's name, a shape `[2,-1]` or `?` (unknown
rank), a list `{a|b}`, a tensor of integers `uint8[4]255|0|0|255`.
A kind `type(float|double)` also lists the types that TensorFlow's CPU kernels of the op take; without a list any.
Flags: `s` the op is stateful.

Left out: TensorFlow's own test ops, TPU and oneDNN internals, and the unfinished Risc ops. No graph that a user saves holds them.
"""
import pathlib
import re
import sys

import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.framework import kernels
from tensorflow.python.client import pywrap_tf_session as session

OUT = pathlib.Path(__file__).resolve().parent.parent / "compiler/src/import/opdefs.tsv"

INTERNAL = re.compile(
    r"Mkl|OneDnn|TPU(?!Array)|Tpu|^Risc|^XlaSparse|SparseCore|Dedup|^(In|Out)feed|^Prelinearize|Minibatch|WorkerHeartbeat|"
    r"ConvertToCoo|_XlaCompileMlir"
)

TEST_OPS = set("""
    A Attr AttrBool AttrBoolList AttrDefault AttrEmptyListDefault AttrEnum AttrEnumList AttrFloat AttrListDefault
    AttrListMin AttrListTypeDefault AttrMin AttrPartialShape AttrPartialShapeList AttrShape AttrShapeList
    AttrTypeDefault B Binary ComplexStruct ConstructionFails CopyOp DefaultAttrs DtypeWithDefaultOp Fact
    FiveFloatOutputs FloatInput FloatOutput FloatOutputStringOutput Foo1 Foo2 Foo3 FuncAttr FuncListAttr GraphDefVersion
    InPolymorphicTwice Int64Output IntAttr IntInput IntInputFloatInput IntInputIntOutput IntOutput IntOutputFloatOutput
    KernelLabel KernelLabelRequired ListInput ListOutput MixedStruct NInPolymorphicTwice NInTwice NInTwoTypeVariables
    NIntsIn NIntsOut NIntsOutDefault NPolymorphicIn NPolymorphicOut NPolymorphicOutDefault NPolymorphicRestrictIn
    NPolymorphicRestrictOut Namespace>TestStringOutput None Old OpWithDefaultAttr OpWithFutureDefaultAttr OutT
    OutTypeList OutTypeListRestrict Polymorphic PolymorphicDefaultOut PolymorphicOut RefIn RefInputFloatInput
    RefInputFloatInputIntOutput RefInputIntInput RefOut RefOutput RefOutputFloatOutput RequiresOlderGraphVersion
    ReservedAttr ReservedInput ResourceCreateOp ResourceInitializedOp ResourceUsingOp Restrict Simple SimpleStruct
    StringListAttr TestAttr TestStringOutput TwoFloatInputs TwoFloatInputsFloatOutput TwoFloatInputsIntOutput
    TwoFloatOutputs TwoIntInputs TwoIntOutputs TwoRefsIn TypeList TypeListRestrict TypeListTwice Unary
""".split())


def type_name(number):
    return tf.dtypes.as_dtype(number % 100).name if number not in (1, 2, 19) else {1: "float", 2: "double", 19: "half"}[number]


def argument(arg):
    if arg.type_list_attr:
        kind = "@" + arg.type_list_attr
    else:
        kind = arg.type_attr or type_name(arg.type)
        if arg.number_attr:
            kind = f"{arg.number_attr}*{kind}"
    return f"{arg.name}:{'&' if arg.is_ref else ''}{kind}"


def text(value):
    return "".join(chr(b) if re.match(r"[A-Za-z0-9_.:/-]", chr(b)) else f"%{b:02X}" for b in value)


def shape(value):
    return "?" if value.unknown_rank else "[" + ",".join(str(d.size) for d in value.dim) + "]"


def number(value):
    """The shortest decimal that gives the same single-precision number."""
    import numpy as np

    return str(np.float32(value))


def default(value):
    which = value.WhichOneof("value")
    one = {
        "s": text,
        "i": str,
        "f": number,
        "b": lambda b: "true" if b else "false",
        "type": type_name,
        "shape": shape,
    }
    if which == "list":
        filled = [(name, getattr(value.list, name)) for name in one if len(getattr(value.list, name))]
        if value.list.tensor or value.list.func or len(filled) > 1:
            raise ValueError(value)
        return "{" + "|".join(one[name](v) for name, values in filled for v in values) + "}"
    if which == "tensor":
        array = tf.make_ndarray(value.tensor)
        return f"{array.dtype.name}[{','.join(map(str, array.shape))}]" + "|".join(str(int(v)) for v in array.reshape(-1))
    return one[which](getattr(value, which))


def kernel_types(op, attr):
    """The types that the op's CPU kernels take for a type attribute, as `(float|double)`; empty for any."""
    if attr.type not in ("type", "list(type)"):
        return ""
    allowed = set(attr.allowed_values.list.type)
    cpu = [k for k in kernels.get_registered_kernels_for_op(op.name).kernel if k.device_type == "CPU"]
    taken = set()
    for kernel in cpu:
        for constraint in kernel.constraint:
            if constraint.name == attr.name:
                taken |= set(constraint.allowed_values.list.type)
                break
        else:  # this kernel takes whatever the op allows
            taken = allowed
            break
    types = (taken & allowed if allowed else taken) if cpu else allowed
    return f"({'|'.join(map(type_name, sorted(types)))})" if types else ""


def line(op):
    attributes = []
    for attr in op.attr:
        assert attr.name not in {d.name for d in map(tf.dtypes.as_dtype, range(1, 24))}, (op.name, attr.name)
        attributes.append(f"{attr.name}:{attr.type}{kernel_types(op, attr)}" + (f"={default(attr.default_value)}" if attr.HasField("default_value") else ""))
    columns = [
        op.name,
        ",".join(map(argument, op.input_arg)),
        ",".join(map(argument, op.output_arg)),
        ";".join(attributes),
        "s" if op.is_stateful else "",
    ]
    return "\t".join(columns)


def main():
    ops = op_def_pb2.OpList()
    ops.ParseFromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
    kept = sorted((op for op in ops.op if not INTERNAL.search(op.name) and op.name not in TEST_OPS), key=lambda op: op.name.encode())
    content = "".join(line(op) + "\n" for op in kept)
    print(f"TensorFlow {tf.__version__}: {len(kept)} of {len(ops.op)} ops, {len(content)} bytes", file=sys.stderr)
    if "--check" in sys.argv[1:]:
        sys.exit(OUT.read_text() != content)
    OUT.write_text(content)


if __name__ == "__main__":
    main()
