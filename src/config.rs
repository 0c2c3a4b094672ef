//! Settings and policy: layered, read, compiled, or refused with the place and what was expected.
