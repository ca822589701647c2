//! The table of TensorFlow's neural-network ops that are compositions.

use super::{activation as act, backprop, loss, norm};
use crate::tf::TfBinding;

/// Every composed op of this family.
pub const TF: &[TfBinding] = &[
    TfBinding { op: "BiasAdd", read: act::bias_add },
    TfBinding { op: "BiasAddV1", read: act::bias_add_v1 },
    TfBinding { op: "Relu", read: |cx| act::unary(cx, act::relu) },
    TfBinding { op: "Relu6", read: |cx| act::unary(cx, act::relu6) },
    TfBinding { op: "Elu", read: |cx| act::unary(cx, act::elu) },
    TfBinding { op: "Selu", read: |cx| act::unary(cx, act::selu) },
    TfBinding { op: "LeakyRelu", read: act::leaky_relu },
    TfBinding { op: "Softplus", read: |cx| act::unary(cx, act::softplus) },
    TfBinding { op: "Softsign", read: |cx| act::unary(cx, act::softsign) },
    TfBinding { op: "ClipByValue", read: act::clip_by_value },
    TfBinding { op: "Softmax", read: loss::softmax },
    TfBinding { op: "LogSoftmax", read: loss::log_softmax },
    TfBinding { op: "SoftmaxCrossEntropyWithLogits", read: loss::dense_cross_entropy },
    TfBinding { op: "SparseSoftmaxCrossEntropyWithLogits", read: loss::sparse_cross_entropy },
    TfBinding { op: "FusedBatchNorm", read: |cx| norm::fused_batch_norm(cx, 5) },
    TfBinding { op: "FusedBatchNormV2", read: |cx| norm::fused_batch_norm(cx, 5) },
    TfBinding { op: "FusedBatchNormV3", read: |cx| norm::fused_batch_norm(cx, 6) },
    TfBinding { op: "FusedBatchNormGrad", read: norm::fused_batch_norm_grad },
    TfBinding { op: "FusedBatchNormGradV2", read: norm::fused_batch_norm_grad },
    TfBinding { op: "FusedBatchNormGradV3", read: norm::fused_batch_norm_grad },
    TfBinding { op: "LRN", read: norm::lrn },
    TfBinding { op: "BiasAddGrad", read: backprop::bias_add },
    TfBinding { op: "ReluGrad", read: backprop::relu },
    TfBinding { op: "Relu6Grad", read: backprop::relu6 },
    TfBinding { op: "LeakyReluGrad", read: backprop::leaky_relu },
    TfBinding { op: "EluGrad", read: backprop::elu },
    TfBinding { op: "SeluGrad", read: backprop::selu },
    TfBinding { op: "SoftplusGrad", read: backprop::softplus },
    TfBinding { op: "SoftsignGrad", read: backprop::softsign },
    TfBinding { op: "TanhGrad", read: backprop::tanh },
    TfBinding { op: "SigmoidGrad", read: backprop::sigmoid },
    TfBinding { op: "SqrtGrad", read: backprop::sqrt },
    TfBinding { op: "RsqrtGrad", read: backprop::rsqrt },
    TfBinding { op: "InvGrad", read: backprop::reciprocal },
    TfBinding { op: "ReciprocalGrad", read: backprop::reciprocal },
];
