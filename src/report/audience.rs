//! Who is told about a rollback: which channel, and whom it calls when a person is needed.
//!
//! A target's own audience comes first, then the service's. Ids are checked for their shape only.

use super::blocks::Mention;
use crate::target::{Audience, Target};

/// Who is told where a target does not say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Everyone {
    /// The channel; without one, targets that name none are not reported.
    pub channel: Option<String>,
    /// Who is called when a person is needed.
    pub on_call: Vec<Mention>,
    /// The namespace in which Ripcord itself runs, where its global hold is.
    pub namespace: String,
    /// The ConfigMap there that holds everything.
    pub hold: String,
}

// === impl Everyone ===

impl Everyone {
    /// The channel for a target, or for one that the policy no longer has.
    #[must_use]
    pub fn channel<'a>(&'a self, target: Option<&'a Target>) -> Option<&'a str> {
        let own = audience(target).and_then(|audience| audience.channel.as_deref());
        own.or(self.channel.as_deref())
    }

    /// Whom to call, and what is wrong with the entries that call nobody.
    #[must_use]
    pub fn on_call(&self, target: Option<&Target>) -> (Vec<Mention>, Vec<String>) {
        let mut faults = Vec::new();
        let own = audience(target).map_or(&[][..], |audience| &audience.on_call);
        let read = |written: &String| written.parse().map_err(|e| faults.push(format!("{e}")));
        let mentions: Vec<Mention> = own.iter().map(read).filter_map(Result::ok).collect();
        // Entries that call nobody must not leave a night without anybody.
        if mentions.is_empty() {
            (self.on_call.clone(), faults)
        } else {
            (mentions, faults)
        }
    }
}

fn audience(target: Option<&Target>) -> Option<&Audience> {
    target.map(|target| &target.audience)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollback::history::tests::target;

    #[test]
    fn a_targets_own_audience_comes_first() {
        let everyone = Everyone {
            channel: Some("#ops".into()),
            on_call: vec![Mention::Here],
            namespace: "ripcord".into(),
            hold: "ripcord-hold".into(),
        };
        let mut target = target();
        assert_eq!(everyone.channel(Some(&target)), Some("#ops"));
        assert_eq!(everyone.channel(None), Some("#ops"));
        assert_eq!(everyone.on_call(None).0, [Mention::Here]);
        target.audience.channel = Some("#payments".into());
        target.audience.on_call = vec!["S0123ABCD".into(), "jo".into()];
        assert_eq!(everyone.channel(Some(&target)), Some("#payments"));
        let (who, faults) = everyone.on_call(Some(&target));
        assert_eq!(who, ["S0123ABCD".parse().unwrap()]);
        assert_eq!(faults.len(), 1);
        target.audience.on_call = vec!["jo".into()];
        assert_eq!(everyone.on_call(Some(&target)).0, [Mention::Here]);
    }
}
