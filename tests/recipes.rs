//! The files in `docs/ci` that people copy: they are YAML of the right shape, and their commands make an image, with the
//! rights of an ordinary container.

#![allow(clippy::unwrap_used, reason = "a test program: a panic is its answer")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Run, container_shell, scratch};
use serde_json::Value;

/// A file, as Python's YAML reads it.
fn yaml(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci").join(name);
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let json = Run::of(Command::new("python3").args(["-c", script]).arg(path)).ok();
    serde_json::from_str(&json).unwrap()
}

/// A project that has what the files ask for: a program that makes the OS, and a key.
fn project(directory: &Path) {
    let build_tree = r#"#!/bin/sh -e
        mkdir -p "$1"/usr/bin "$1"/usr/etc "$1"/usr/lib/modules/6.12 "$1"/usr/lib/ostree-seal/trusted.d
        cp /bin/true "$1/usr/bin/app"
        echo ID=example >"$1/usr/lib/os-release"
        echo kernel >"$1/usr/lib/modules/6.12/vmlinuz"
        echo initramfs >"$1/usr/lib/modules/6.12/initramfs.img"
        cp release.vkey "$1/usr/lib/ostree-seal/trusted.d/"
        printf '[seal]\nmode = sealed\nproduct = example.com/os\n' >"$1/usr/lib/ostree-seal/policy.conf"
    "#;
    fs::write(directory.join("build-tree"), build_tree).unwrap();
    let prepare = "chmod +x build-tree; ostree-seal keygen --name=example.com/release release";
    Run::of(container_shell().args(["-c", prepare]).current_dir(directory)).ok();
}

/// Runs the scripts one after the other, each by a shell of its own, and looks at the image.
fn makes_an_image(scripts: &[String], values: &[(&str, &str)]) {
    let work = scratch();
    project(work.path());
    let key = fs::read_to_string(work.path().join("release.key")).unwrap();
    let key_file = work.path().join("release.key");
    for script in scripts {
        let mut shell = container_shell();
        let secret = if script.contains("printf") { key.trim_end() } else { key_file.to_str().unwrap() };
        shell.args(["-e", "-u", "-o", "pipefail", "-c", script]).current_dir(&work);
        Run::of(shell.envs(values.iter().copied()).env("SEAL_KEY", secret).env("SIZE", "64M")).ok();
    }
    let look = "zstd -qdf root.img.zst; e2fsck -fn root.img; ostree-seal verity --check root.img; ls";
    let run = Run::of(container_shell().args(["-e", "-c", look]).current_dir(&work));
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
}

fn lines(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_workflow_for_github_makes_an_image() {
    let workflow = yaml("github.yml");
    let job = &workflow["jobs"]["image"];
    assert!(job["runs-on"].is_string() && job["container"].is_string(), "{job}");
    assert!(job["container"].get("options").is_none(), "an ordinary container has no options");
    let steps = job["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["uses"].is_string() != step["run"].is_string()), "{steps:?}");
    let runs = steps.iter().filter(|step| step["run"].is_string() && step["name"] != "install");
    let scripts: Vec<String> = runs.map(|step| step["run"].as_str().unwrap().to_owned()).collect();
    assert_eq!(scripts.len() + 3, steps.len(), "two actions and what installs are left out");
    let product = job["env"]["PRODUCT"].as_str().unwrap();
    makes_an_image(&scripts, &[("PRODUCT", product), ("INDEX", "7")]);
}

#[test]
fn the_job_for_gitlab_makes_an_image() {
    let job = &yaml("gitlab.yml")["image"];
    assert!(job["image"].is_string() && job["rules"].is_array(), "{job}");
    assert_eq!(lines(&job["artifacts"]["paths"]), ["root.img.zst"]);
    assert!(lines(&job["before_script"]).iter().all(|line| line.starts_with("apt-get ")));
    let script = lines(&job["script"]).join("\n");
    let product = job["variables"]["PRODUCT"].as_str().unwrap();
    makes_an_image(&[script], &[("PRODUCT", product), ("CI_PIPELINE_IID", "7")]);
}
