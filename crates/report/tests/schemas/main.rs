//! The committed schemas are those of the documents.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

/// The variable that has the schemas written anew.
const UPDATE: &str = "HOPWISE_UPDATE_SCHEMAS";

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas")
}

/// `hopwise/diagnosis/v1` lies in `diagnosis.v1.json`.
fn file_name(schema: &str) -> String {
    format!("{}.json", schema.trim_start_matches("hopwise/").replace('/', "."))
}

#[test]
fn the_committed_schemas_are_those_of_the_documents() {
    let directory = directory();
    let is_update = env::var_os(UPDATE).is_some();
    let mut names = BTreeSet::new();
    for (name, schema) in hopwise_report::schemas() {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let path = directory.join(file_name(name));
        if is_update {
            fs::write(&path, &text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "{} is not the schema of {name}; write it anew: {UPDATE}=1 cargo test -p hopwise-report --test schemas",
            path.display()
        );
        names.insert(file_name(name));
    }
    let files = fs::read_dir(&directory).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<BTreeSet<_>>(), names, "a schema without a document, or the reverse");
}

#[test]
fn every_schema_is_one_and_names_its_document() {
    for (name, schema) in hopwise_report::schemas() {
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(schema["properties"]["schema"]["const"], name);
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(!validator.is_valid(&serde_json::json!({ "schema": name })), "{name} demands nothing");
    }
}
