//! Whether Ripcord's column is as it has to be. It says where it is not.

use crate::contender::Contender;
use crate::table::Row;

/// How much later than a bare command's Ripcord's last bad answer may come.
const RATIO: f64 = 1.2;

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
        format!("Ripcord left the right end in every run. {ratios}")
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
