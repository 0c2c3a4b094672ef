//! What a person asks of this program: the usual arguments of a test binary, and its own. It refuses what would be ignored.

use std::env;

use anyhow::{Result, bail, ensure};
use libtest_mimic::Arguments;

/// All arguments.
pub(crate) struct Asked {
    pub(crate) what: What,
    /// The usual ones.
    pub(crate) tests: Arguments,
}

/// What is to be done.
pub(crate) enum What {
    /// Only build the control plane.
    Build,
    /// Start a cluster for a person.
    Up,
    /// Play the scenarios on a cluster of this run's own.
    Own,
    /// Play what can be played on the cluster that KUBECONFIG names, with images from this repository.
    Foreign { images: Option<String> },
}

// === impl Asked ===

impl Asked {
    /// Reads the command line.
    pub(crate) fn read() -> Result<Self> {
        let (mut build, mut up, mut foreign, mut images) = (false, false, false, None);
        let mut usual = Vec::new();
        let mut arguments = env::args();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--build" => build = true,
                "--up" => up = true,
                "--foreign" => foreign = true,
                "--image" => match arguments.next() {
                    Some(repository) => images = Some(repository),
                    None => bail!(
                        "--image needs the name of a repository, such as registry.example/demo"
                    ),
                },
                _ => usual.push(argument),
            }
        }
        ensure!(
            usize::from(build) + usize::from(up) + usize::from(foreign) <= 1,
            "--build, --up and --foreign go one at a time"
        );
        ensure!(
            foreign || images.is_none(),
            "--image is for --foreign: the pods of this run's own cluster are simulated"
        );
        let what = match (build, up, foreign) {
            (true, _, _) => What::Build,
            (_, true, _) => What::Up,
            (_, _, true) => What::Foreign { images },
            _ => What::Own,
        };
        Ok(Self {
            what,
            tests: Arguments::from_iter(usual),
        })
    }
}
