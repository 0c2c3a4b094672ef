//! `ripcord crd`: prints the custom resource definitions, for `kubectl apply` and for the files in `deploy/crds`.

use clap::ValueEnum;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::{Answer, Exit};
use crate::rollback::crd;

/// Print the custom resource definitions.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which one; both if it is left out.
    pub which: Option<Which>,
}

/// The definitions there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Which {
    /// One run of a procedure.
    Rollbacks,
    /// The memory of one target.
    Targets,
}

pub(super) fn run(args: &Args) -> Answer {
    let wanted = match args.which {
        None => vec![Which::Rollbacks, Which::Targets],
        Some(which) => vec![which],
    };
    let texts: Result<Vec<_>, _> = wanted.into_iter().map(Which::yaml).collect();
    match texts {
        Ok(texts) => Answer::done(texts.join("---\n")),
        Err(error) => Answer::failed(Exit::Failed, format!("error: {error}\n")),
    }
}

impl Which {
    fn definition(self) -> CustomResourceDefinition {
        match self {
            Self::Rollbacks => crd::rollbacks(),
            Self::Targets => crd::targets(),
        }
    }

    fn yaml(self) -> Result<String, serde_saphyr::SerializeError> {
        serde_saphyr::to_string(&self.definition())
    }
}
