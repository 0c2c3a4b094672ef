//! Settings and policy: layered, read, compiled, or refused with the place and what was expected.
//!
//! Each room owns the settings it lives by; this one puts the layers together ([`settings`]). The policy is read as it
//! is written ([`raw`]), then compiled into what the service runs by ([`compile`]). What is wrong is said all at once,
//! each with its place ([`diagnostic`]). It refuses to guess: an unknown key or name is an error, never a default.

pub mod compile;
pub mod diagnostic;
pub(crate) mod nearest;
pub mod policy;
pub mod raw;
pub mod settings;

pub use diagnostic::{Diagnostic, Level, Place, Source};
pub use policy::{Loaded, Reading, load_policy, read_policy};
pub use settings::Settings;
