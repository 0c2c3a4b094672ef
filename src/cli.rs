//! The commands, one file each. `serve` wires the rooms together.

pub mod service;
