//! A demo without the rights for a lab. With them it is a test of the lab tier.

use crate::harness::{command, ran};

#[test]
fn a_demo_that_cannot_build_its_lab_says_why() {
    let ran = ran(command().env("HOPWISE_LAB_DIR", "/proc/nowhere").arg("demo"));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("error: cannot write /proc/nowhere"), "{}", ran.stderr);
}
