//! An OCI image archive of one layer with one file.
//!
//! By the OCI image layout 1.0 (`oci-layout`, `index.json`, blobs named by their SHA-256), with the annotation by which
//! containerd names what it imports. `manifest.json` says the same for `docker load` and `podman load`. No time, owner or
//! name of this machine is in it, so that the same program gives the same bytes.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// When everything was made, so that nothing depends on when.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// An image of the program, as the bytes of an archive.
pub(crate) fn archive(program: &[u8], architecture: &str, reference: &str) -> io::Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    add(&mut layer, "hopwise", 0o755, program)?;
    let layer = layer.into_inner()?;
    let diff_id = digest(&layer);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&layer)?;
    let layer = encoder.finish()?;
    let config = document(&json!({
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Entrypoint": ["/hopwise"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Labels": {"org.opencontainers.image.title": "hopwise"},
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": CREATED, "created_by": "hopwise image"}],
    }));
    let manifest = document(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("application/vnd.oci.image.config.v1+json", &config),
        "layers": [blob("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
    }));
    let tag = reference.rsplit(':').next().unwrap_or(reference);
    let mut described = blob("application/vnd.oci.image.manifest.v1+json", &manifest);
    described["platform"] = json!({"architecture": architecture, "os": "linux"});
    described["annotations"] = json!({
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": tag,
    });
    let index = document(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described],
    }));
    let for_docker = document(&json!([{
        "Config": path(&config), "RepoTags": [reference], "Layers": [path(&layer)],
    }]));
    let mut all = Builder::new(Vec::new());
    add(&mut all, "oci-layout", 0o644, &document(&json!({"imageLayoutVersion": "1.0.0"})))?;
    add(&mut all, "index.json", 0o644, &index)?;
    add(&mut all, "manifest.json", 0o644, &for_docker)?;
    for blob in [&manifest, &config, &layer] {
        add(&mut all, &path(blob), 0o644, blob)?;
    }
    all.into_inner()
}

fn add(archive: &mut Builder<Vec<u8>>, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, name, bytes)
}

/// How one document of an image speaks of another.
fn blob(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Where a blob lies in the archive.
fn path(bytes: &[u8]) -> String {
    format!("blobs/{}", digest(bytes).replace(':', "/"))
}

fn document(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read};

    use flate2::read::GzDecoder;
    use tar::Archive;

    use super::*;

    /// The files of an archive.
    fn files(bytes: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut archive = Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|it| {
            let mut entry = it.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, (entry.header().mode().unwrap(), content))
        });
        entries.collect()
    }

    #[test]
    fn every_document_names_the_next_by_its_content() {
        let bytes = archive(b"the program", "amd64", "hopwise.local/hopwise:1").unwrap();
        let files = files(&bytes);
        let json = |name: &str| -> Value { serde_json::from_slice(&files[name].1).unwrap() };
        let follow = |it: &Value| {
            let name = format!("blobs/{}", it["digest"].as_str().unwrap().replace(':', "/"));
            let content = &files[&name].1;
            assert_eq!(it["size"], content.len());
            assert_eq!(it["digest"], digest(content));
            name
        };
        let index = json("index.json");
        let described = &index["manifests"][0];
        assert_eq!(described["annotations"]["io.containerd.image.name"], "hopwise.local/hopwise:1");
        let manifest = json(&follow(described));
        let config = json(&follow(&manifest["config"]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/hopwise"]));
        let mut layer = Vec::new();
        GzDecoder::new(&files[&follow(&manifest["layers"][0])].1[..]).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([digest(&layer)]));
        assert_eq!(
            self::files(&layer),
            BTreeMap::from([("hopwise".to_owned(), (0o755, b"the program".to_vec()))])
        );
        assert_eq!(json("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
        let docker = &json("manifest.json")[0];
        assert!(files.contains_key(docker["Config"].as_str().unwrap()));
        assert!(files.contains_key(docker["Layers"][0].as_str().unwrap()));
    }

    #[test]
    fn the_same_program_gives_the_same_bytes() {
        let image = || archive(b"the program", "amd64", "hopwise.local/hopwise:1").unwrap();
        assert_eq!(image(), image());
        assert_ne!(image(), archive(b"another", "amd64", "hopwise.local/hopwise:1").unwrap());
    }
}
