"""Ops that TensorFlow's runtime and graph optimizers write; most are hidden from Python, so nodes are made by name."""
nan = float("nan")
plain_call, plain_case = call, case


def hidden(op, args, attrs):
    """The results of a node of the present graph."""
    graph = tf.compat.v1.get_default_graph()
    definition = op_def_registry.get(op)
    types = [tf.dtypes.as_dtype(a.type) if a.type else attrs.get(a.type_attr) or args[0].dtype for a in definition.output_arg]
    kw = {"T": args[0].dtype, "Tin": args[0].dtype, "U": tf.float32, "TArgs": [a.dtype for a in args[2:]], "num_args": len(args) - 2,
          "num_side_inputs": 0, "num_host_args": 0} | attrs
    proto = {}
    for a in definition.attr:
        v = kw.get(a.name)
        if v is None:
            continue
        m = tf.compat.v1.AttrValue()
        kind = a.type
        if kind == "type":
            m.type = tf.as_dtype(v).as_datatype_enum
        elif kind == "list(type)":
            m.list.type.extend([tf.as_dtype(t).as_datatype_enum for t in v])
        elif kind == "list(string)":
            m.list.s.extend([s.encode() for s in v])
        elif kind == "list(int)":
            m.list.i.extend(v)
        elif kind == "string":
            m.s = v.encode()
        else:
            setattr(m, {"int": "i", "float": "f", "bool": "b"}[kind], v)
        proto[a.name] = m
    node = graph.create_op(op, list(args), types, attrs=proto, name="node")
    return list(node.outputs)


def case(name, op, inputs, symbolic=(), **attrs):
    global call

    def call(op, args, attrs):
        if not tf.executing_eagerly():
            return hidden(op, args, attrs)
        with tf.Graph().as_default() as g:
            outputs = hidden(op, [tf.constant(a.numpy()) for a in args], attrs)
            config = tf.compat.v1.ConfigProto()
            config.graph_options.rewrite_options.disable_meta_optimizer = True
            with tf.compat.v1.Session(graph=g, config=config) as session:
                values = session.run(outputs)
        return [tf.constant(v) for v in values]

    plain_case(name, op, inputs, symbolic, grad=False, **attrs)
    call = plain_call


image, kernel = x(1, 4, 5, 2, step=0.25), x(2, 3, 2, 3, start=-2.0, step=0.125)
per_channel = [d([0.5, -1, 2], "float32"), d([1, 0, -0.5], "float32"), d([0.25, 3, -2], "float32"), d([1, 2, 0.5], "float32")]
for steps in [["BiasAdd"], ["BiasAdd", "Relu"], ["BiasAdd", "Relu6"], ["BiasAdd", "Elu"], ["BiasAdd", "LeakyRelu"], ["FusedBatchNorm"], ["FusedBatchNorm", "Relu"]]:
    args = per_channel[:1] if steps[0] == "BiasAdd" else per_channel
    case("fused_conv_" + "_".join(steps).lower(), "_FusedConv2D", [image, kernel, *args], [(0, 0)], tol=2e-5, strides=[1, 2, 1, 1], padding="SAME", fused_ops=steps,
         epsilon=0.001, leakyrelu_alpha=0.3)
case("fused_conv_explicit", "_FusedConv2D", [image, kernel, *per_channel[:1]], tol=1e-5, strides=[1, 1, 1, 1], padding="EXPLICIT", fused_ops=["BiasAdd"],
     explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0], dilations=[1, 2, 1, 1])
for steps in [["BiasAdd"], ["BiasAdd", "Relu"], ["BiasAdd", "Tanh"], ["BiasAdd", "Sigmoid"], ["BiasAdd", "LeakyRelu"]]:
    case("fused_mat_mul_" + "_".join(steps).lower(), "_FusedMatMul", [x(3, 4, step=0.125), x(2, 4, step=0.25), d([0.5, -1], "float32")], [(0, 0)], tol=2e-6, transpose_a=False,
         transpose_b=True, fused_ops=steps, leakyrelu_alpha=0.3)
case("unary_composition", "_UnaryOpsComposition", [x(3, 4)], [(0, 0)], tol=2e-6, op_names=["Abs", "Sqrt", "Neg", "Exp"])
case("unary_composition_relu", "_UnaryOpsComposition", [x(3, 4, dtype="float64")], tol=1e-12, op_names=["Tanh", "Relu6"])
# Numbers that are whole, so that no random number decides.
for to in [tf.int8, tf.int16, tf.int32]:
    case(f"stochastic_cast_{to.name}", "StochasticCastToInt", [d([3, -8, nan, 0, 200, -200], "float32"), d([7], "uint64"), d([1, 2], "uint64"), c(1)], [(0, 0)], Tout=to)
call, case = plain_call, plain_case

pool = d([[1, 1, 2, 0], [1, 1, 2, 2], [-5, -5, -5, -5]], "float32")
square = ("data", pool[1].reshape(1, 3, 4, 1))
most = lambda v, size, strides, padding: ("data", tf.nn.max_pool2d(v[1], size, strides, padding).numpy())
for padding in ["SAME", "VALID"]:
    y = most(square, [2, 2], [1, 2], padding)
    case("max_pool_grad_grad_" + padding.lower(), "MaxPoolGradGrad", [square, y, x(1, 3, 4, 1)], [], grad=False, ksize=[1, 2, 2, 1], strides=[1, 1, 2, 1], padding=padding)
    case("max_pool_grad_grad_v2_" + padding.lower(), "MaxPoolGradGradV2", [square, y, x(1, 3, 4, 1), c([1, 2, 2, 1]), c([1, 1, 2, 1])], [], grad=False, padding=padding)
case("max_pool_grad_grad_nowhere", "MaxPoolGradGrad", [square, ("data", most(square, 2, 1, "VALID")[1] + 1), x(1, 3, 4, 1)], grad=False, ksize=[1, 2, 2, 1],
     strides=[1, 1, 1, 1], padding="VALID")
cube = ("data", pool[1].reshape(1, 3, 2, 2, 1))
case("max_pool_3d_grad_grad", "MaxPool3DGradGrad", [cube, ("data", tf.nn.max_pool3d(cube[1], [2, 2, 1], 1, "SAME").numpy()), x(1, 3, 2, 2, 1)], grad=False,
     ksize=[1, 2, 2, 1, 1], strides=[1, 1, 1, 1, 1], padding="SAME")
for i, v in enumerate([0.0, 2.0, nan, [0.0, 0.0], np.zeros((2, 0))]):
    case(f"to_bool_{i}", "ToBool", [d(v, "float32")], [(0, 0)] if np.ndim(v) else [], grad=False)
case("to_bool_i64", "ToBool", [d(-3, "int64")])
case("to_bool_bool", "ToBool", [("data", np.array(True))])
case("to_bool_text", "ToBool", [("data", np.array(b"a", object))])
case("to_bool_no_text", "ToBool", [("data", np.array(b"", object))])
case("device_index", "DeviceIndex", [], device_names=["GPU", "CPU"])
case("device_index_other", "DeviceIndex", [], device_names=["GPU", "TPU"])
