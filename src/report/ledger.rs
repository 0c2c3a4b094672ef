//! Keeps what was told in the rollback's own status.

use super::outbox::{Ledger, LedgerError};
use crate::cluster::{Cluster, Error};
use crate::rollback::Rollback;
use crate::rollback::object::{Report, SlackReport};

impl Ledger for Cluster {
    async fn write(&self, rollback: &Rollback, report: &SlackReport) -> Result<(), LedgerError> {
        let report = Report {
            slack: report.clone(),
        };
        match self.write_report(rollback, &report).await {
            Ok(()) => Ok(()),
            // The uid is the write's only precondition: another object has the name now.
            Err(Error::NotFound(_) | Error::Precondition(_)) => Err(LedgerError::Gone),
            Err(error) => Err(LedgerError::Failed(error.to_string())),
        }
    }
}
