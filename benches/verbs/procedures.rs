//! The table of procedures: when each was done with what, to its end, against its budget and the runbook's script.

use std::fmt::Write;

use crate::contender::Contender;
use crate::shared::options::Options;
use crate::table::Row;

/// The section of the document about the procedures.
pub(crate) fn text(rows: &[Row], machine: &str, options: &Options) -> String {
    let mut text = format!(
        "{machine} Runs of each: {}, one at a time. Times are medians, from the moment the script started or the alert was \
         posted.\n\n\
         | procedure | who acts | first change | traffic back | Healthy | the procedure's end | budget | the end state |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        options.runs
    );
    for row in rows {
        let Some(procedure) = row.state.procedure else {
            continue;
        };
        let budget = budget(row);
        for contender in [Contender::Runbook, Contender::Ripcord] {
            let title = match contender {
                Contender::Runbook => format!("`{procedure}`"),
                _ => String::new(),
            };
            writeln!(
                text,
                "| {title} | {} | {}{} | {} | {} | {}{} | {budget} | {} |",
                row.who(contender),
                row.time(contender, |it| it.first_change),
                asked(row, contender),
                row.traffic_back(contender),
                row.time(contender, |it| it.healthy),
                row.time(contender, |it| it.ended),
                stopped(row, contender),
                row.end(contender, options)
            )
            .expect("a string takes all");
        }
    }
    text
}

/// What the shipped policy gives the procedure, as Ripcord's plan has it.
fn budget(row: &Row) -> String {
    let mut ran = row.of(Contender::Ripcord).iter();
    let ran = ran.find_map(|it| it.ran.as_ref());
    ran.map_or_else(|| "–".to_owned(), |it| format!("{} s", it.budget))
}

/// When a person was asked, where one was.
fn asked(row: &Row, contender: Contender) -> String {
    let mut all = row.of(contender).iter();
    if all.any(|it| it.asked.is_some()) {
        format!("; asked after {}", row.time(contender, |it| it.asked))
    } else {
        String::new()
    }
}

/// Where a script stopped, if it did not get to its end in its last turn.
fn stopped(row: &Row, contender: Contender) -> String {
    let last = row.of(contender).last();
    let stopped = last.and_then(|it| it.stopped.as_ref());
    stopped.map_or_else(String::new, |it| format!(": it stops at {it}"))
}
