//! The door: authenticates, bounds and decodes notifications, and answers what was decided.

pub mod settings;
