//! The shipped policy, for what runs by it.

const SHIPPED: &str = include_str!("../../config/rollbacks.yaml");

/// The shipped policy without `after`: where there is no Prometheus, the service does not start with it.
pub(crate) fn without_looks() -> String {
    let (before, looks) = SHIPPED.split_once("    after:\n").expect("it looks");
    // They are the last of what is said of the target, and an empty line follows.
    let (_, rest) = looks.split_once("\n\n").expect("more follows");
    assert!(rest.contains("\ntriggers:\n"), "{rest}");
    format!("{before}\n{rest}")
}
