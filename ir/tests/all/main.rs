//! The ops and the loop IR from the outside: tables from TensorFlow, laws, text forms.

mod array_laws;
mod array_ops;
mod common;
mod host_ops;
mod host_rules;
mod loops_files;
mod loops_random;
mod loops_speed;
mod loops_verify;
mod nn_ops;
mod nn_rules;
mod scalar_semantics;
mod surface;
mod xla_rules;
