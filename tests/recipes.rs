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

/// A system in an ext4, as the recipe makes it up to the last step.
const SYSTEM: &str = "
    ./build-tree tree
    mkdir root
    ostree admin init-fs --modern root
    ostree admin os-init --sysroot=root os
    ostree config --repo=root/ostree/repo set sysroot.bootloader none
    ostree commit --repo=root/ostree/repo --branch=os --tree=dir=tree
    ostree-seal sign --repo=root/ostree/repo os --key=release.key --product=example.com/os --index=1
    ostree admin deploy --sysroot=root --os=os os
    ostree-seal deploy --sysroot=root --defer-verity
    truncate -s 32M root.img
    mke2fs -q -t ext4 -b 4096 -E root_owner=0:0 -d root root.img
    truncate -s 80M disk
    printf 'label: gpt\\nsize=32M, name=a\\nsize=32M, name=b\\n' | sfdisk --quiet disk
";

/// Runs a script that continues [`SYSTEM`].
fn with_a_system(script: &str) -> Run {
    let work = scratch();
    project(work.path());
    let script = format!("{SYSTEM}\n{script}");
    Run::of(container_shell().args(["-e", "-u", "-o", "pipefail", "-c", &script]).current_dir(&work))
}

#[test]
fn a_partition_gets_the_bytes_that_the_file_system_alone_gets() {
    let run = with_a_system(
        "dd if=root.img of=disk bs=1M seek=33 conv=notrunc status=none
         cp disk by-label; cp disk by-offset; cp disk found; cp disk from-copy
         dd if=/dev/zero of=from-copy bs=92 count=1 seek=512 oflag=seek_bytes conv=notrunc status=none
         ostree-seal verity root.img
         ostree-seal verity --partition=b by-label
         ostree-seal verity --offset=34603008 by-offset
         ostree-seal verity found
         ostree-seal verity from-copy 2>said
         grep 'warning: the disk.s first partition table is damaged' said
         for disk in by-label by-offset found from-copy; do
             cmp root.img <(tail -c +34603009 $disk | head -c 33554432)
             cmp -n 34603008 $disk $([ $disk = from-copy ] && echo from-copy || echo disk)
         done
         echo all the same",
    );
    assert!(run.stdout.ends_with("all the same\n"), "{}{}", run.stdout, run.stderr);
}

#[test]
fn of_several_systems_none_is_changed_until_one_is_chosen() {
    let run = with_a_system(
        "dd if=root.img of=disk bs=1M seek=1 conv=notrunc status=none
         dd if=root.img of=disk bs=1M seek=33 conv=notrunc status=none
         cp disk before
         ostree-seal verity disk 2>&1 || echo code $?
         cmp disk before
         ostree-seal verity --partition=2 disk
         ostree-seal verity --check --partition=2 disk
         ostree-seal verity --check --partition=1 disk 2>/dev/null || echo then code $?",
    );
    let several = "disk: several partitions hold ostree/repo: partition 1 'a', partition 2 'b'; choose one";
    assert!(run.stdout.contains(several) && run.stdout.contains("\ncode 3\n"), "{}", run.stdout);
    assert!(run.stdout.ends_with("then code 3\n"), "{}{}", run.stdout, run.stderr);
}
