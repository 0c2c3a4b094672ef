//! Each fault in its own file, and what is said about it.

use super::*;
use crate::alert::{Labels, Severity};
use crate::rollback::object::Mode;

const FAULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/policy");

fn read(text: &str) -> Reading {
    let path = "rollbacks.yaml".to_owned();
    read_policy([Source {
        path,
        text: text.to_owned(),
    }])
}

fn drawn(reading: &Reading) -> String {
    let all = reading.diagnostics.iter().map(|one| one.render(false));
    all.collect::<Vec<_>>().join("\n\n")
}

#[test]
fn every_fault_is_said_with_its_place() {
    let mut files = files_in(Path::new(FAULTS)).unwrap();
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
    assert!(files.len() > 40, "{}", files.len());
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let reading = read(&fs::read_to_string(&file).unwrap());
        let accepted = ["warnings", "classic-matcher"].contains(&name.as_str());
        assert_eq!(
            reading.policy.is_some(),
            accepted,
            "{name}\n{}",
            drawn(&reading)
        );
        assert_eq!(reading.errors() == 0, accepted, "{name}");
        assert!(
            reading.diagnostics.iter().all(|one| one.place.is_some()),
            "{name}"
        );
        insta::with_settings!({
            snapshot_path => FAULTS,
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, drawn(&reading));
        });
    }
}
