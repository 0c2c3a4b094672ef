//! Whether what Ripcord did is as it has to be, and each procedure within its budget. It says where it is not.

use crate::contender::Contender;
use crate::outcome::{End, Outcome};
use crate::table::Row;

/// How much later than a bare command's Ripcord's last bad answer may come.
const RATIO: f64 = 1.2;
/// Within how many seconds a person is called where Ripcord must not act.
const CALL: f64 = 1.0;

/// What is not as it has to be, in words.
pub(crate) fn complaints(rows: &[Row]) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in rows {
        let name = row.state.name;
        for outcome in row.of(Contender::Ripcord) {
            if outcome.end != row.state.right {
                complaints.push(format!(
                    "{name}: Ripcord leaves {:?}: {outcome}",
                    row.state.right
                ));
            }
            let in_time = outcome.called.is_some_and(|at| at <= CALL);
            if row.state.right == End::Called && !in_time {
                complaints.push(format!(
                    "{name}: a person is called within {CALL} s: {outcome}"
                ));
            }
            if let Some(left) = outcome.left
                && !left.is_right()
            {
                complaints.push(format!("{name}: Ripcord leaves {}", left.text()));
            }
            if let Some(procedure) = row.state.procedure
                && let Some(complaint) = about(procedure, outcome)
            {
                complaints.push(format!("{name}: {complaint}"));
            }
        }
        if let Some((ours, theirs)) = compared(row)
            && ours > theirs * RATIO
        {
            complaints.push(format!(
                "{name}: Ripcord's last bad answer ({ours:.2} s) comes within {RATIO} times the bare command's ({theirs:.2} s)"
            ));
        }
    }
    complaints
}

/// What is wrong with Ripcord's run of a procedure, if anything is.
fn about(procedure: &str, outcome: &Outcome) -> Option<String> {
    let Some(ran) = &outcome.ran else {
        return Some(format!("{procedure} was not run: {outcome}"));
    };
    if ran.procedure != procedure {
        return Some(format!("{} was run, not {procedure}", ran.procedure));
    }
    match outcome.ended {
        Some(ended) if ran.succeeded && ended <= ran.budget => None,
        Some(ended) if ran.succeeded => Some(format!(
            "{procedure} ends after {ended:.2} s, and its budget is {} s",
            ran.budget
        )),
        _ => Some(format!("{procedure} did not succeed: {outcome}")),
    }
}

/// What the run has shown, in a sentence.
pub(crate) fn sentence(rows: &[Row], complaints: &[String]) -> String {
    let mut ratios = Vec::new();
    for row in rows {
        if let Some((ours, theirs)) = compared(row)
            && theirs > 0.0
        {
            ratios.push(format!("{} {:.2}", row.state.name, ours / theirs));
        }
    }
    let ratios = format!(
        "last bad answer, Ripcord's to the bare command's where that works: {}",
        ratios.join(", ")
    );
    if complaints.is_empty() {
        format!(
            "Ripcord left the right end in every run, and each procedure ended within its budget. {ratios}"
        )
    } else {
        ratios
    }
}

/// The medians of Ripcord's and the bare command's last bad answers, where that command works.
fn compared(row: &Row) -> Option<(f64, f64)> {
    let bare = row.of(Contender::Bare);
    let works = bare.iter().all(|it| it.end.is_back());
    works.then_some(())?;
    Some((
        row.last_bad(Contender::Ripcord)?,
        row.last_bad(Contender::Bare)?,
    ))
}
