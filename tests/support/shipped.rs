//! The shipped policy, for what runs by it.

const SHIPPED: &str = include_str!("../../config/rollbacks.yaml");

/// The shipped policy without `after`: where there is no Prometheus, the service does not start with it.
pub(crate) fn without_looks() -> String {
    let (before, _, after) = parts();
    format!("{before}\n{after}")
}

/// What it says of the looks after the end, in lines of their own.
pub(crate) fn looks() -> &'static str {
    parts().1
}

/// What stands before the looks, the looks, and the rest behind an empty line.
fn parts() -> (&'static str, &'static str, &'static str) {
    let begin = SHIPPED.find("    after:\n").expect("it looks");
    let (before, looks) = SHIPPED.split_at(begin);
    // They are the last of what is said of the target, and an empty line follows.
    let end = looks.find("\n\n").expect("more follows") + 1;
    let (looks, rest) = looks.split_at(end);
    let rest = &rest[1..];
    assert!(rest.contains("\ntriggers:\n"), "{rest}");
    (before, looks, rest)
}
