//! The JSON Schemas of the documents.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::document::{
    CausesDocument, DiagnosisDocument, DiffDocument, Document, DriftDocument, ErrorDocument, MatrixDocument,
    ProbesDocument, RepairDocument, TraceDocument, UndoDocument, VersionDocument,
};

/// The schema of every document (JSON Schema 2020-12), by the document's name: `hopwise/diagnosis/v1`.
pub fn schemas() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        schema::<CausesDocument>(),
        schema::<DiagnosisDocument>(),
        schema::<DiffDocument>(),
        schema::<DriftDocument>(),
        schema::<ErrorDocument>(),
        schema::<MatrixDocument>(),
        schema::<ProbesDocument>(),
        schema::<RepairDocument>(),
        schema::<TraceDocument>(),
        schema::<UndoDocument>(),
        schema::<VersionDocument>(),
    ])
}

fn schema<D: Document>() -> (&'static str, Value) {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<D>().to_value();
    // A document says which it is.
    if let Some(name) = schema.pointer_mut("/properties/schema/type") {
        *name = Value::from("string");
    }
    if let Some(Value::Object(property)) = schema.pointer_mut("/properties/schema") {
        property.insert("const".to_owned(), Value::from(D::SCHEMA));
    }
    (D::SCHEMA, schema)
}
