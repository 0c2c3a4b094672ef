//! The shared stories on the simulated cluster. Each is a test of the name that it has on the real one.

mod plugin;
mod simulated;

use simulated::Simulated;

use crate::support::story::{self, for_each_story};

/// Makes a test of each story. This cluster has all that one can need.
macro_rules! simulated {
    ($($name:ident: $module:ident::$story:ident $([$($need:ident)+])?,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                story::$module::$story::<Simulated>().await;
            }
        )+
    };
}

for_each_story!(simulated);
