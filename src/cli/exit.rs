//! How the command ends: every exit code, each for one thing. They are documented in `docs/exit-codes.md`.

use std::process::ExitCode;

/// Defines the enum, the codes and what they mean in one place.
macro_rules! exits {
    ($($variant:ident = $code:literal : $meaning:literal,)+) => {
        /// How a command ended.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Exit {
            $(#[doc = $meaning] $variant,)+
        }

        impl Exit {
            /// All of them, by code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The exit code.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

exits! {
    Done = 0: "Everything went as asked; warnings may have been given.",
    Failed = 1: "Something failed at run time, such as a connection or a write.",
    Invalid = 2: "The settings or the policy are invalid: what is wrong stands on standard error.",
    RollbackFailed = 10: "The rollback failed: a person is needed, and the target is latched, unless it was a drill.",
    RollbackDeclined = 11: "The rollback was declined, or the drill was refused: nothing was touched.",
    RollbackSuperseded = 12: "The rollback ended because another release went live.",
    RollbackCancelled = 13: "The rollback was cancelled before its end.",
    StillOpen = 14: "The rollback had not ended in the time given by `--timeout`; it goes on.",
    AlreadyEnded = 15: "There is nothing to stop or to answer any more: it has ended, was answered, or asks for no answer.",
    DrillLeft = 16: "A drill left its mark on the workload, or may have: what is left, and how to put it back, is said.",
    NotReady = 20: "Something has to be mended before a deployment: each line that says FAILED tells what, and how.",
    Usage = 64: "The command line cannot be understood.",
    BadPayload = 65: "The payload is no Alertmanager notification of version 4.",
    NoInput = 66: "The payload cannot be read.",
    Unknown = 67: "There is no such rollback or target; near names are suggested.",
    NoCluster = 69: "The cluster cannot be reached, or Ripcord's definitions are not installed there.",
    Forbidden = 77: "A right is missing: which one is said.",
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
