//! Notes the git commit, so that results can say what made them; compiles what calls oneDNN, if that is asked for.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "onednn")]
    onednn();
    if !Path::new(".git/logs/HEAD").exists() {
        return;
    }
    println!("cargo:rerun-if-changed=.git/logs/HEAD");
    let commit = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    if let Some(output) = commit.ok().filter(|output| output.status.success()) {
        println!("cargo:rustc-env=QSD_COMMIT={}", String::from_utf8_lossy(&output.stdout).trim());
    }
}

/// The feature `onednn`.
#[cfg(feature = "onednn")]
fn onednn() {
    let source = "src/model/engine/bf16/onednn.cpp";
    println!("cargo:rerun-if-changed={source}");
    cc::Build::new().cpp(true).std("c++14").flag("-fopenmp").file(source).compile("qsd_onednn");
    println!("cargo:rustc-link-lib=dnnl");
    println!("cargo:rustc-link-lib=gomp");
}
