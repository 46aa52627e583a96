//! `doctor` on made-up sysroots: each finding is provoked. What needs fs-verity (that all is well) is in the guest test
//! `tests/vm/deploy-verity`.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::system::System;
use common::{Run, is_root, object, program, run, seal};
use ostree_seal::signing::PrivateKey;
use serde_json::Value;

const KERNEL: &str = "usr/lib/modules/6.12";
const CONFIG: &str =
    "CONFIG_FS_VERITY=y\nCONFIG_EROFS_FS=y\nCONFIG_EROFS_FS_BACKED_BY_FILE=y\nCONFIG_OVERLAY_FS=y\n";
const PROGRAM: &str = "usr/lib/ostree-seal/ostree-seal-root";
const UNIT: &str = "usr/lib/systemd/system/ostree-seal-root.service";
const PULLED_IN: &str = "etc/systemd/system/initrd-root-fs.target.requires/ostree-seal-root.service";
const WANTS: &str = "etc/systemd/system/multi-user.target.wants";
const FILE: u32 = 0o100644;
const LINK: u32 = 0o120777;

type Member = (u32, String, String);

/// A system whose next deployment lacks nothing but fs-verity.
struct Patient {
    system: System,
    tree: PathBuf,
}

/// What `doctor` said.
struct Diagnosis {
    code: Option<i32>,
    findings: Vec<Value>,
    stderr: String,
}

fn file(name: &str, content: impl Into<String>) -> Member {
    (FILE, name.to_owned(), content.into())
}

/// A cpio archive ("newc"), as text: members, and the directories above them.
fn cpio(members: &[Member]) -> String {
    let trailer = (0, "TRAILER!!!".to_owned(), String::new());
    let above = |(_, name, _): &Member| -> Vec<String> {
        name.match_indices('/').map(|(slash, _)| name[..slash].to_owned()).collect()
    };
    let directories: std::collections::BTreeSet<String> = members.iter().flat_map(above).collect();
    let directories: Vec<Member> =
        directories.into_iter().map(|name| (0o040_755, name, String::new())).collect();
    let mut archive = String::new();
    let pad = |archive: &mut String| {
        while archive.len() % 4 != 0 {
            archive.push('\0');
        }
    };
    for (mode, name, content) in directories.iter().chain(members).chain([&trailer]) {
        archive.push_str(&format!("070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}", 1, 0, 0, 1, 0));
        archive.push_str(&format!("{:08x}{:08x}{:08x}{:08x}{:08x}", content.len(), 0, 0, 0, 0));
        archive.push_str(&format!("{:08x}{:08x}{name}\0", name.len() + 1, 0));
        pad(&mut archive);
        archive.push_str(content);
        pad(&mut archive);
    }
    archive
}

impl Patient {
    fn new() -> Self {
        let system = System::new();
        let mut files = system.policy("");
        files.extend([
            (PROGRAM, "program".to_owned()),
            ("usr/lib/modules/6.12/config", CONFIG.to_owned()),
            ("usr/lib/modules/6.12/initramfs.img", cpio(&initramfs(&system))),
            ("usr/lib/systemd/system/ostree-seal-deploy.path", String::new()),
            ("usr/lib/systemd/system/ostree-finalize-staged.service.d/50-ostree-seal.conf", String::new()),
            ("usr/etc/systemd/system/multi-user.target.wants/ostree-seal-deploy.path", String::new()),
        ]);
        let commit = system.commit("1", &files);
        system.sign(&commit, &system.statement(&commit, 7), &[&system.key]);
        system.deploy_tree();
        system.deploy(&["--defer-verity"]).ok();
        let tree = system.deployment(&commit);
        Self { system, tree }
    }

    /// Replaces a file of the deployment, and no object of the repository.
    fn put(&self, name: &str, content: &str) {
        self.remove(name);
        fs::create_dir_all(self.tree.join(name).parent().unwrap()).unwrap();
        fs::write(self.tree.join(name), content).unwrap();
    }

    fn remove(&self, name: &str) {
        drop(fs::remove_file(self.tree.join(name)));
    }

    /// The initramfs that the boot entry names.
    fn booted_initramfs(&self) -> PathBuf {
        let found =
            run("find", &[self.system.root.join("boot/ostree").to_str().unwrap(), "-name", "initramfs*"]);
        assert_eq!(found.lines().count(), 1, "{found}");
        found.into()
    }

    fn put_initramfs(&self, members: &[Member]) {
        fs::write(self.booted_initramfs(), cpio(members)).unwrap();
    }

    fn examine(&self) -> Diagnosis {
        examine(program().arg("doctor"), &self.system.root)
    }
}

fn examine(command: &mut Command, root: &Path) -> Diagnosis {
    let run = Run::of(command.arg("--json").arg(format!("--sysroot={}", root.display())));
    let output: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    let findings = output["findings"].as_array().unwrap().clone();
    Diagnosis { code: run.code, findings, stderr: run.stderr }
}

impl Diagnosis {
    /// There is a finding of this check, in this state, with these words. What isn't fine has a command.
    fn assert(&self, check: &str, state: &str, words: &str) {
        let found: Vec<_> = self.findings.iter().filter(|finding| finding["check"] == check).collect();
        let hit = found.iter().find(|finding| finding["state"] == state);
        let hit = hit.unwrap_or_else(|| panic!("no {state} of {check}: {found:#?}"));
        let sentence = hit["sentence"].as_str().unwrap();
        assert!(sentence.contains(words), "{words} is not in {sentence}");
        assert_eq!(hit["fix"].is_string(), state != "fine", "{hit}");
        if state == "problem" {
            assert_eq!(self.code, Some(3), "{}", self.stderr);
        }
    }

    fn lacks(&self, check: &str) {
        assert!(!self.findings.iter().any(|finding| finding["check"] == check), "{:#?}", self.findings);
    }
}

/// What an initramfs needs.
fn initramfs(system: &System) -> Vec<Member> {
    let mut members = vec![
        file(PROGRAM, "program"),
        file(UNIT, "[Unit]"),
        (LINK, PULLED_IN.to_owned(), format!("/{UNIT}")),
    ];
    members.extend(system.policy("").iter().map(|(name, content)| file(name, content.clone())));
    members
}

#[test]
fn doctor_finds_nothing_wrong_where_only_verity_is_missing() {
    if !is_root("doctor_finds_nothing_wrong_where_only_verity_is_missing") {
        return;
    }
    let patient = Patient::new();
    let diagnosis = patient.examine();
    for check in [
        "kernel-version",
        "kernel-fs-verity",
        "kernel-erofs",
        "kernel-overlay",
        "repository",
        "space",
        "policy",
        "initramfs",
        "program",
        "program-started",
        "policy-current",
        "units",
    ] {
        diagnosis.assert(check, "fine", "");
    }
    diagnosis.assert("objects", "problem", "have no fs-verity");
    diagnosis.assert("next-boot", "problem", "would be refused");
    assert!(diagnosis.stderr.contains("need fixing"), "{}", diagnosis.stderr);
    let page = Run::of(program().arg("doctor").arg(format!("--sysroot={}", patient.system.root.display())));
    assert!(
        page.stdout.contains("PROBLEM") && page.stdout.contains("-> ostree-seal deploy --sysroot="),
        "{}",
        page.stdout
    );
    assert!(page.stdout.lines().count() <= 24 && !page.stdout.contains('\x1b'), "{}", page.stdout);
}

#[test]
fn doctor_says_what_the_kernel_lacks() {
    if !is_root("doctor_says_what_the_kernel_lacks") {
        return;
    }
    let patient = Patient::new();
    let config = format!("{KERNEL}/config");
    for (option, check) in [
        ("CONFIG_FS_VERITY", "kernel-fs-verity"),
        ("CONFIG_EROFS_FS", "kernel-erofs"),
        ("CONFIG_OVERLAY_FS", "kernel-overlay"),
    ] {
        patient.put(&config, &CONFIG.replace(&format!("{option}=y"), &format!("# {option} is not set")));
        patient.examine().assert(check, "problem", "kernel 6.12");
    }
    patient.put(&config, &CONFIG.replace("CONFIG_EROFS_FS=y", "CONFIG_EROFS_FS=m"));
    patient.put(&format!("{KERNEL}/modules.dep"), "kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko\n");
    patient.examine().assert("kernel-erofs", "problem", "not in the initramfs");
    let mut members = initramfs(&patient.system);
    members.push(file("usr/lib/modules/6.12/kernel/fs/erofs/erofs.ko.xz", ""));
    patient.put_initramfs(&members);
    patient.examine().assert("kernel-erofs", "fine", "in the initramfs");
    patient.put(&config, &CONFIG.replace("CONFIG_EROFS_FS_BACKED_BY_FILE=y\n", ""));
    patient.examine().assert("kernel-loop", "problem", "has no loop");
    patient.remove(&config);
    patient.remove(&format!("{KERNEL}/modules.dep"));
    let diagnosis = patient.examine();
    for check in ["kernel-fs-verity", "kernel-erofs", "kernel-overlay"] {
        diagnosis.assert(check, "not-checked", "whether it has");
    }
}

#[test]
fn doctor_knows_versions_that_are_too_old_or_were_broken() {
    if !is_root("doctor_knows_versions_that_are_too_old_or_were_broken") {
        return;
    }
    let patient = Patient::new();
    let mut last = patient.tree.join(KERNEL);
    for (release, check, state) in [
        ("6.1.0-9-amd64", "kernel-version", "problem"),
        ("6.8.0", "kernel-version", "fine"),
        ("6.18.2", "kernel-regression", "warning"),
        ("7.0.1", "kernel-regression", "warning"),
        ("next", "kernel-version", "not-checked"),
    ] {
        let path = patient.tree.join("usr/lib/modules").join(release);
        fs::rename(&last, &path).unwrap();
        patient.examine().assert(check, state, release);
        last = path;
    }
    fs::remove_file(last.join("vmlinuz")).unwrap();
    patient.examine().assert("kernel", "problem", "has no kernel");
}

#[test]
fn doctor_says_what_is_wrong_with_the_repository() {
    if !is_root("doctor_says_what_is_wrong_with_the_repository") {
        return;
    }
    let patient = Patient::new();
    let names =
        run("ostree", &["ls", &common::repo_arg(&patient.system.repo()), "-C", "os", "/usr/bin/large"]);
    let large = object(&patient.system.repo(), names.split_whitespace().nth(4).unwrap(), "file");
    fs::remove_file(large).unwrap();
    patient.examine().assert("objects", "problem", "are missing");
    common::system::set_immutable(&patient.tree, false);
    patient.remove(".ostree.cfs");
    patient.examine().assert("objects", "not-checked", "without an image");
    let config = patient.system.repo().join("config");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("mode=bare", "mode=archive-z2")).unwrap();
    patient.examine().assert("repository", "problem", "archive");
}

#[test]
fn doctor_says_what_is_wrong_with_the_file_system() {
    if !is_root("doctor_says_what_is_wrong_with_the_file_system") {
        return;
    }
    let patient = Patient::new();
    // The mount is seen by this script alone.
    const SCRIPT: &str = r#"
        mount -t tmpfs -o size=12m tmpfs "$2" && cp -a "$1/." "$2" && exec "$3" doctor --json --sysroot="$2"
    "#;
    let place = common::scratch();
    let program = env!("CARGO_BIN_EXE_ostree-seal");
    let arguments = [patient.system.root.to_str().unwrap(), place.path().to_str().unwrap(), program];
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", SCRIPT, "sh"]).args(arguments);
    let run = Run::of(&mut command);
    let output: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    let findings = output["findings"].as_array().unwrap().clone();
    let diagnosis = Diagnosis { code: run.code, findings, stderr: run.stderr };
    diagnosis.assert("fs-verity", "problem", "tmpfs");
    diagnosis.assert("space", "problem", "MiB needed");
}

#[test]
fn doctor_says_what_is_wrong_with_the_initramfs() {
    if !is_root("doctor_says_what_is_wrong_with_the_initramfs") {
        return;
    }
    let patient = Patient::new();
    let whole = initramfs(&patient.system);
    let without = |name: &str| whole.iter().filter(|member| member.1 != name).cloned().collect::<Vec<_>>();
    patient.put_initramfs(&without(PROGRAM));
    patient.examine().assert("program", "problem", "holds no ostree-seal-root");
    patient.examine().assert("policy", "problem", "holds no ostree-seal-root");
    patient.put_initramfs(&[without(PROGRAM), vec![file(PROGRAM, "older program")]].concat());
    patient.examine().assert("program", "warning", "than its tree");
    patient.put_initramfs(&without(PULLED_IN));
    patient.examine().assert("program-started", "problem", "nothing in");
    let other = file("usr/lib/systemd/system/ostree-prepare-root.service", "[Unit]");
    patient.put_initramfs(&[whole.clone(), vec![other.clone()]].concat());
    patient.examine().assert("program-started", "problem", "ostree-prepare-root");
    let mask = (LINK, "etc/systemd/system/ostree-prepare-root.service".to_owned(), "/dev/null".to_owned());
    patient.put_initramfs(&[whole.clone(), vec![other, mask]].concat());
    patient.examine().assert("program-started", "fine", "no ostree-prepare-root");
    fs::write(patient.booted_initramfs(), "no cpio").unwrap();
    patient.examine().assert("initramfs", "problem", "neither cpio nor a known compression");
    fs::remove_file(patient.booted_initramfs()).unwrap();
    patient.examine().assert("initramfs", "problem", "No such file");
    let entry = run("find", &[patient.system.root.join("boot/").to_str().unwrap(), "-name", "ostree*.conf"]);
    let text = fs::read_to_string(&entry).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("initrd")).collect();
    fs::write(&entry, lines.join("\n") + "\n").unwrap();
    patient.remove(&format!("{KERNEL}/initramfs.img"));
    patient.examine().assert("initramfs", "problem", "has no initramfs");
}

#[test]
fn doctor_says_what_is_wrong_with_the_policy() {
    if !is_root("doctor_says_what_is_wrong_with_the_policy") {
        return;
    }
    let patient = Patient::new();
    let whole = initramfs(&patient.system);
    let policy = "usr/lib/ostree-seal/policy.conf";
    let with = |name: &str, content: &str| [whole.clone(), vec![file(name, content)]].concat();
    patient.put_initramfs(&with(policy, "[seal]\nmode = sealde\n"));
    patient.examine().assert("policy", "problem", "policy.conf");
    patient.put_initramfs(&with(policy, "[seal]\nmode = unsealed\n"));
    let diagnosis = patient.examine();
    diagnosis.assert("policy", "warning", "mode = unsealed");
    diagnosis.assert("next-boot", "warning", "without any check");
    diagnosis.assert("policy-current", "problem", "policy.conf");
    diagnosis.lacks("objects");

    patient.put_initramfs(&whole);
    patient.examine().assert("shell", "fine", "gives nobody a shell: `on-refusal = halt`");
    patient.put_initramfs(&with(policy, "[seal]\nmode = sealed\non-refusal = emergency\n"));
    patient.examine().assert("shell", "warning", "a root shell in the initramfs");

    let other = PrivateKey::generate("example.com/old").unwrap().vkey().to_string() + "\n";
    let key = |directory: &str| format!("usr/lib/ostree-seal/{directory}/old.vkey");
    patient.put_initramfs(&with(&key("trusted.d"), &other));
    patient.examine().assert("policy-current", "problem", "trusted.d");
    let revoked = [with(&key("trusted.d"), &other), vec![file(&key("revoked.d"), other.clone())]].concat();
    patient.put_initramfs(&revoked);
    patient.examine().assert("keys", "warning", "is revoked");
    patient.examine().assert("policy-current", "problem", "trusted.d, revoked.d");
    patient.put_initramfs(&with(&key("trusted.d"), "no key"));
    patient.examine().assert("keys", "warning", "old.vkey");
}

#[test]
fn doctor_says_that_a_system_is_not_sealed_at_all() {
    if !is_root("doctor_says_that_a_system_is_not_sealed_at_all") {
        return;
    }
    let system = System::new();
    let nothing = examine(program().arg("doctor"), &system.root);
    nothing.assert("next-boot", "problem", "there is no deployment");
    system.commit("1", &[("usr/lib/modules/6.12/config", CONFIG.to_owned())]);
    system.deploy_tree();
    let foreign = examine(program().arg("doctor"), &system.root);
    foreign.assert("policy", "problem", "has no policy");
    foreign.assert("units", "warning", "there is no systemd");
}

#[test]
fn doctor_says_which_units_do_not_guard_updates() {
    if !is_root("doctor_says_which_units_do_not_guard_updates") {
        return;
    }
    let patient = Patient::new();
    let name = "ostree-seal-deploy.path";
    patient.remove(&format!("{WANTS}/{name}"));
    let diagnosis = patient.examine();
    diagnosis.assert("units", "problem", "ostree-seal-deploy.path is not enabled");
    symlink("/dev/null", patient.tree.join("etc/systemd/system").join(name)).unwrap();
    patient.examine().assert("units", "problem", "masked");
    fs::remove_file(patient.tree.join("etc/systemd/system").join(name)).unwrap();
    patient.remove(&format!("usr/lib/systemd/system/{name}"));
    patient.examine().assert("units", "problem", "ostree-seal-deploy.path is not installed");
    let gate = "ostree-finalize-staged.service.d/50-ostree-seal.conf";
    let mask = patient.tree.join("etc/systemd/system").join(gate);
    fs::create_dir_all(mask.parent().unwrap()).unwrap();
    symlink("/dev/null", &mask).unwrap();
    patient.examine().assert("units", "problem", "50-ostree-seal.conf is masked");
    fs::remove_file(&mask).unwrap();
    patient.remove(&format!("usr/lib/systemd/system/{gate}"));
    patient.examine().assert("units", "problem", "50-ostree-seal.conf is not installed");
}

#[test]
fn doctor_reads_a_unified_kernel_image_that_objcopy_made() {
    const NAME: &str = "doctor_reads_a_unified_kernel_image_that_objcopy_made";
    if cfg!(not(target_arch = "x86_64")) {
        println!("SKIP {NAME}: makes a program for x86-64");
        return;
    }
    if !is_root(NAME) {
        return;
    }
    let patient = Patient::new();
    let esp = patient.system.root.join("boot/EFI/Linux");
    fs::create_dir_all(&esp).unwrap();
    let entry = run("find", &[patient.system.root.join("boot/").to_str().unwrap(), "-name", "ostree*.conf"]);
    let text = fs::read_to_string(entry).unwrap();
    let target = text.split_whitespace().find(|word| word.starts_with("ostree=")).unwrap();
    // The boot entry's initramfs is no longer asked.
    fs::write(patient.booted_initramfs(), "no cpio").unwrap();
    let initrd = cpio(&initramfs(&patient.system));
    let image = unified(patient.system.directory.path(), target, &initrd);
    fs::write(esp.join("os.efi"), &image).unwrap();
    patient.examine().assert("initramfs", "fine", "os.efi can be read");
    patient.examine().assert("program", "fine", "");
    patient.examine().assert("policy", "fine", "os.efi:/usr/lib/ostree-seal/policy.conf");
    let other = unified(patient.system.directory.path(), "ostree=/ostree/boot.1/other/0/0", "");
    fs::write(esp.join("os.efi"), &other).unwrap();
    patient.examine().assert("initramfs", "problem", "neither cpio nor a known compression");
    let start = image.windows(initrd.len()).position(|part| part == initrd.as_bytes()).unwrap();
    fs::write(esp.join("os.efi"), &image[..start + 600]).unwrap();
    patient.examine().assert("initramfs", "problem", "section .initrd");
}

/// A unified kernel image as it is made by hand: sections that objcopy adds to an EFI program.
fn unified(directory: &Path, cmdline: &str, initrd: &str) -> Vec<u8> {
    const SCRIPT: &str = r#"
        cd "$1"
        echo 'int _start(void) { return 0; }' >stub.c
        cc -fPIC -nostdlib -shared -o stub.so stub.c
        objcopy --output-target=efi-app-x86_64 stub.so stub.efi
        objcopy --add-section .cmdline=cmdline --change-section-vma .cmdline=0x30000 \
            --add-section .initrd=initrd --change-section-vma .initrd=0x3000000 stub.efi os.efi
    "#;
    fs::write(directory.join("cmdline"), format!("{cmdline}\n")).unwrap();
    fs::write(directory.join("initrd"), initrd).unwrap();
    run("sh", &["-ec", SCRIPT, "sh", directory.to_str().unwrap()]);
    fs::read(directory.join("os.efi")).unwrap()
}

#[test]
fn what_a_user_may_not_see_is_not_checked_and_never_fine() {
    if !is_root("what_a_user_may_not_see_is_not_checked_and_never_fine") {
        return;
    }
    let patient = Patient::new();
    fs::set_permissions(patient.booted_initramfs(), fs::Permissions::from_mode(0o600)).unwrap();
    // Where anybody may look, unlike a home directory.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = place.path().join("sysroot");
    run("cp", &["-a", patient.system.root.to_str().unwrap(), copy.to_str().unwrap()]);
    let seal = place.path().join("ostree-seal");
    fs::copy(env!("CARGO_BIN_EXE_ostree-seal"), &seal).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&seal).arg("doctor");
    let diagnosis = examine(&mut command, &copy);
    diagnosis.assert("initramfs", "not-checked", "Permission denied");
    diagnosis.lacks("program");
}

#[test]
fn doctor_ends_with_1_where_something_could_not_be_checked() {
    if !is_root("doctor_ends_with_1_where_something_could_not_be_checked") {
        return;
    }
    let system = System::new();
    let unsealed = ("usr/lib/ostree-seal/policy.conf", "[seal]\nmode = unsealed\n".to_owned());
    let members = [
        file(PROGRAM, "program"),
        file(UNIT, "[Unit]"),
        (LINK, PULLED_IN.to_owned(), String::new()),
        file(unsealed.0, &*unsealed.1),
    ];
    let files = [unsealed, ("usr/lib/modules/6.12/initramfs.img", cpio(&members))];
    system.commit("1", &files);
    system.deploy_tree();
    let diagnosis = examine(program().arg("doctor"), &system.root);
    diagnosis.assert("policy", "warning", "unsealed");
    assert_eq!(diagnosis.code, Some(1), "{:#?}", diagnosis.findings);
    assert!(diagnosis.stderr.contains("could not be checked"), "{}", diagnosis.stderr);
}

#[test]
fn a_directory_without_a_system_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let sysroot = format!("--sysroot={}", directory.path().display());
    for command in ["doctor", "status"] {
        let run = seal(&[command, &sysroot]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("it has no ostree/repo, so it's no OSTree system"), "{}", run.stderr);
        assert_eq!(run.stderr.trim_end().lines().count(), 1, "{}", run.stderr);
    }
}
