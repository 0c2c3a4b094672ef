//! Keeps what was told in the rollback's own status.

use serde_json::Value;

use super::outbox::{Ledger, LedgerError};
use crate::cluster::{Cluster, Error};
use crate::rollback::Rollback;

impl Ledger for Cluster {
    async fn write(
        &self,
        rollback: &Rollback,
        key: &'static str,
        record: Value,
    ) -> Result<(), LedgerError> {
        match self.write_report(rollback, key, record).await {
            Ok(()) => Ok(()),
            // The uid is the write's only precondition: another object has the name now.
            Err(Error::NotFound(_) | Error::Precondition(_)) => Err(LedgerError::Gone),
            Err(error) => Err(LedgerError::Failed(error.to_string())),
        }
    }
}
