//! Tables as kubectl draws them: a head, columns without lines, and nothing that a terminal would obey.

use comfy_table::{Table, presets};

use crate::report::text;

/// A table of these rows under these heads.
pub(super) fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(heads.iter().map(|head| (*head).to_owned()));
    for row in rows {
        let cells = row.iter().map(|cell| {
            let cell = text::clean(cell);
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        });
        table.add_row(cells.collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_harmless() {
        let rows = [
            vec!["shop".to_owned(), "api\u{1b}[2J".to_owned()],
            vec!["payments".to_owned(), String::new()],
        ];
        assert_eq!(
            table(&["NAMESPACE", "NAME"], rows),
            "NAMESPACE   NAME\nshop        api[2J\npayments    -\n"
        );
    }
}
