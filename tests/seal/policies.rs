use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::policy;
use ostree_seal_trust::evidence::EvidenceKind;
use ostree_seal_trust::policy::{ConfError, Measure, Need, OnRefusal, Policy, PolicyError, SkippedKeyReason};
use ostree_seal_trust::refusal::Refusal;

use crate::fixture::{CONF, Key, Trust, other, release};

fn wrong(conf: &str) -> (usize, ConfError) {
    match Trust::new(conf, &[&release()], &[]).load() {
        Err(Refusal::Policy(PolicyError::Malformed { line, error, .. })) => (line, error),
        other => panic!("{conf:?}: {other:?}"),
    }
}

#[test]
fn reads_every_key_of_a_policy() {
    let conf = "# which images boot\n[seal]\nmode = sealed   # sealed | unsealed\n\n; numbers\n  product=example.com/os#1\n\
                accept =note,commit\nthreshold= 2 # of three\nminimum-index\t=\t18446744073709551615";
    let policy = Trust::new(conf, &[&release(), &other()], &[]).sealed();
    assert_eq!(policy.product().unwrap().as_str(), "example.com/os#1");
    assert!(policy.accepts(EvidenceKind::Note) && policy.accepts(EvidenceKind::Commit));
    assert_eq!((policy.threshold(), policy.minimum_index()), (2, u64::MAX));
    assert_eq!(policy.trusted().len(), 2);
}

#[test]
fn what_a_policy_leaves_out_is_the_stricter_choice() {
    let policy = Trust::new("[seal]\nmode = sealed\n", &[&release()], &[]).sealed();
    assert!(policy.accepts(EvidenceKind::Note) && !policy.accepts(EvidenceKind::Commit));
    assert_eq!((policy.threshold(), policy.minimum_index(), policy.product()), (1, 0, None));
}

#[test]
fn a_refusal_halts_unless_the_policy_says_otherwise() {
    let words = [
        ("", OnRefusal::Halt),
        ("on-refusal = halt", OnRefusal::Halt),
        ("on-refusal = reboot", OnRefusal::Reboot),
    ];
    for (line, expected) in
        words.into_iter().chain([("on-refusal=emergency # at the desk", OnRefusal::Emergency)])
    {
        for mode in ["sealed", "unsealed"] {
            let conf = format!("[seal]\nmode = {mode}\n{line}\n");
            let policy = Trust::new(&conf, &[&release()], &[]).load().unwrap();
            assert_eq!(policy.on_refusal(), expected, "{conf}");
        }
    }
}

#[test]
fn a_measurement_is_asked_for_by_its_pcr_and_must_work_unless_the_policy_says_otherwise() {
    for (section, expected) in [
        ("", None),
        ("[tpm]\nmeasure = 15\n", Some(Measure { pcr: 15, need: Need::Required })),
        ("[tpm]\ntpm = required\nmeasure = 8 # the first\n", Some(Measure { pcr: 8, need: Need::Required })),
        ("[tpm]\nmeasure = 9\ntpm = optional\n", Some(Measure { pcr: 9, need: Need::Optional })),
    ] {
        for mode in ["sealed", "unsealed"] {
            for conf in
                [format!("[seal]\nmode = {mode}\n{section}"), format!("{section}[seal]\nmode = {mode}\n")]
            {
                let policy = Trust::new(&conf, &[&release()], &[]).load().unwrap();
                assert_eq!(policy.measure(), expected, "{conf}");
            }
        }
    }
}

#[test]
fn refuses_measurement_that_is_not_understood() {
    // PCRs of the firmware, and those that anybody can reset.
    for pcr in ["", "0", "7", "16", "23", "24", "015", "+15", "0xf", "15,14", "271"] {
        let (line, error) = wrong(&format!("{CONF}[tpm]\nmeasure = {pcr}\n"));
        assert_eq!((line, error), (6, ConfError::Measure(pcr.to_owned())));
    }
    for word in ["", "yes", "Required", "required optional"] {
        let error = wrong(&format!("{CONF}[tpm]\nmeasure = 15\ntpm = {word}\n")).1;
        assert_eq!(error, ConfError::Tpm(word.to_owned()));
    }
    assert_eq!(wrong(&format!("{CONF}[tpm]\n")), (0, ConfError::NoMeasure));
    assert_eq!(wrong(&format!("{CONF}[tpm]\ntpm = optional\n")), (0, ConfError::NoMeasure));
    let twice = format!("{CONF}[tpm]\nmeasure = 15\n[tpm]\n");
    assert_eq!(wrong(&twice), (7, ConfError::RepeatedSection("tpm".to_owned())));
    assert_eq!(wrong(&format!("{CONF}measure = 15\n")).1, ConfError::UnknownKey("measure".to_owned()));
    for key in ["mode", "threshold", "Measure"] {
        assert_eq!(wrong(&format!("{CONF}[tpm]\n{key} = 15\n")).1, ConfError::UnknownKey(key.to_owned()));
    }
}

#[test]
fn only_the_word_unsealed_gives_leave_to_mount_unchecked() {
    assert!(matches!(Trust::new("[seal]\nmode = unsealed\n", &[], &[]).load(), Ok(Policy::Unsealed(_))));
    for word in ["", "Unsealed", "UNSEALED", "no", "0", "off", "unsealed;", "unsealed sealed", "\"unsealed\""]
    {
        let (_, error) = wrong(&format!("[seal]\nmode = {word}\n"));
        assert_eq!(error, ConfError::Mode(word.replace('"', "\\\"")), "{word:?}");
    }
}

#[test]
fn refuses_empty_policy() {
    for conf in ["", "\n\n", "# nothing\n", "[seal]\n", "[seal]\nproduct = example.com/os\n"] {
        assert_eq!(wrong(conf), (0, ConfError::NoMode), "{conf:?}");
    }
}

#[test]
fn refuses_unknown_policy_key() {
    assert_eq!(wrong(&format!("{CONF}treshold = 2\n")), (5, ConfError::UnknownKey("treshold".to_owned())));
    assert_eq!(wrong(&format!("{CONF}Threshold = 2\n")).1, ConfError::UnknownKey("Threshold".to_owned()));
    let unsealed = "[seal]\nmode = unsealed\nverity = no\n";
    assert_eq!(wrong(unsealed), (3, ConfError::UnknownKey("verity".to_owned())));
}

#[test]
fn refuses_unknown_or_repeated_section() {
    assert_eq!(wrong(&format!("{CONF}[root]\n")), (5, ConfError::UnknownSection("root".to_owned())));
    assert_eq!(wrong(&format!("{CONF}[seal]\n")), (5, ConfError::RepeatedSection("seal".to_owned())));
    assert_eq!(wrong("mode = sealed\n"), (1, ConfError::NoSection("mode".to_owned())));
    assert_eq!(wrong("[seal\nmode = sealed\n").0, 1);
}

#[test]
fn refuses_repeated_policy_key() {
    for line in ["mode = sealed", "mode = unsealed", "product = example.com/os", "accept = note"] {
        let key = line.split(' ').next().unwrap().to_owned();
        assert_eq!(wrong(&format!("{CONF}{line}\n")), (5, ConfError::RepeatedKey(key)));
    }
    let twice = format!("{CONF}threshold = 1\nthreshold = 1\n");
    assert_eq!(wrong(&twice), (6, ConfError::RepeatedKey("threshold".to_owned())));
}

#[test]
fn refuses_policy_values_in_any_other_spelling() {
    for (key, values) in [
        ("threshold", ["0", "-1", "+1", "01", "1.0", "one", "", "65", "18446744073709551617"].as_slice()),
        ("minimum-index", &["-1", "+1", "01", "0x1", "1e3", "", "1 2", "18446744073709551616"]),
    ] {
        for value in values {
            let (line, error) = wrong(&format!("{CONF}{key} = {value}\n"));
            assert_eq!(line, 5, "{key} = {value}");
            assert!(matches!(error, ConfError::Threshold(_) | ConfError::MinimumIndex(_)), "{error}");
        }
    }
    let base = "[seal]\nmode = sealed\n";
    for value in ["", "all", "note,", "note commit", "note, note", "Note", "note; commit"] {
        assert_eq!(wrong(&format!("{base}accept = {value}\n")).1, ConfError::Accept(value.to_owned()));
    }
    for value in ["", "Halt", "poweroff", "shell", "halt, reboot", "emergency 1"] {
        assert_eq!(
            wrong(&format!("{base}on-refusal = {value}\n")).1,
            ConfError::OnRefusal(value.trim().to_owned())
        );
    }
    for value in ["", "two words", "example.com/\u{f6}s"] {
        assert!(matches!(wrong(&format!("{base}product = {value}\n")).1, ConfError::Product(_)));
    }
}

#[test]
fn refuses_policy_with_lines_that_mean_nothing() {
    for line in ["sealed", "mode: sealed", "seal]", "mode sealed"] {
        assert!(matches!(wrong(&format!("{CONF}{line}\n")), (5, ConfError::Shape(_))), "{line}");
    }
    for odd in ["mode = sealed\r\n", "mode = sealed\0\n", "\u{feff}[seal]\n", "mode = sea\u{85}led\n"] {
        let conf = format!("{odd}{CONF}");
        assert_eq!(wrong(&conf).0, 1, "{odd:?}");
    }
}

/// A policy directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

fn load(directory: &tempfile::TempDir) -> Result<Policy, CheckError> {
    policy::load(directory.path())
}

fn vkey(key: &Key) -> String {
    format!("{}\n", key.vkey)
}

#[test]
fn reads_a_policy_directory() {
    let files = [
        ("policy.conf", CONF),
        ("trusted.d/a.vkey", &vkey(&release())),
        ("trusted.d/b.vkey", &vkey(&other())),
        ("trusted.d/README", "keys that count"),
        ("revoked.d/b.vkey", &vkey(&other())),
        ("revoked.d/README", "keys that don't"),
    ];
    let directory = directory(&files);
    let Policy::Sealed(policy) = load(&directory).unwrap() else { panic!("unsealed") };
    assert_eq!(policy.trusted(), [release().vkey]);
    let skipped: Vec<_> = policy
        .skipped()
        .iter()
        .map(|key| (Path::new(&key.path).strip_prefix(directory.path()).unwrap(), key.reason.clone()))
        .collect();
    let expected = [
        (Path::new("revoked.d/README"), SkippedKeyReason::Name),
        (Path::new("trusted.d/README"), SkippedKeyReason::Name),
        (Path::new("trusted.d/b.vkey"), SkippedKeyReason::Revoked(other().vkey.id().clone())),
    ];
    assert_eq!(skipped, expected);
}

#[test]
fn refuses_missing_policy() {
    let empty = directory(&[("trusted.d/a.vkey", &vkey(&release()))]);
    let path = empty.path().join("policy.conf");
    assert_eq!(load(&empty).unwrap_err(), CheckError::PolicyMissing { path });
    let nowhere = policy::load(Path::new("/nonexistent/ostree-seal")).unwrap_err();
    assert!(matches!(nowhere, CheckError::PolicyMissing { .. }), "{nowhere}");
}

#[test]
fn refuses_policy_without_keys() {
    let without = directory(&[("policy.conf", CONF)]);
    let refused = load(&without).unwrap_err();
    assert!(
        matches!(
            refused,
            CheckError::Refused(Refusal::Policy(PolicyError::TooFewKeys { threshold: 1, usable: 0, .. }))
        ),
        "{refused}"
    );
    let empty = directory(&[("policy.conf", CONF), ("trusted.d/a.vkey", "")]);
    let refused = load(&empty).unwrap_err();
    let CheckError::Refused(Refusal::Policy(PolicyError::TooFewKeys { skipped, .. })) = &refused else {
        panic!("{refused}")
    };
    assert_eq!(skipped.len(), 1);
    assert!(refused.to_string().contains("a.vkey"), "{refused}");
}

fn not_understood(error: &CheckError) -> bool {
    matches!(error, CheckError::Refused(Refusal::Policy(PolicyError::RevocationNotUnderstood { .. })))
}

#[test]
fn refuses_policy_whose_revocation_is_not_understood() {
    let trusted = vkey(&release());
    for broken in ["", "garbage", "example.com/x+00000000+AQ==", &trusted.replace("example", "exemple")] {
        let files =
            [("policy.conf", CONF), ("trusted.d/a.vkey", trusted.as_str()), ("revoked.d/b.vkey", broken)];
        let refused = load(&directory(&files)).unwrap_err();
        assert!(not_understood(&refused), "{refused}");
    }
    let directory = directory(&[("policy.conf", CONF), ("trusted.d/a.vkey", &trusted)]);
    fs::create_dir(directory.path().join("revoked.d")).unwrap();
    symlink("gone.vkey", directory.path().join("revoked.d/link.vkey")).unwrap();
    assert!(not_understood(&load(&directory).unwrap_err()));
}

#[test]
fn refuses_revocations_that_can_not_be_listed() {
    let directory =
        directory(&[("policy.conf", CONF), ("trusted.d/a.vkey", &vkey(&release())), ("revoked.d", "")]);
    let refused = load(&directory).unwrap_err();
    assert!(matches!(refused, CheckError::PolicyUnreadable { .. }), "{refused}");
    fs::remove_file(directory.path().join("revoked.d")).unwrap();
    symlink("gone", directory.path().join("revoked.d")).unwrap();
    let refused = load(&directory).unwrap_err();
    assert!(matches!(refused, CheckError::PolicyUnreadable { .. }), "{refused}");
}

#[test]
fn a_revoked_key_of_unknown_type_is_passed_over() {
    let files = [
        ("policy.conf", CONF),
        ("trusted.d/a.vkey", &vkey(&release())),
        ("revoked.d/new.vkey", "example.com/new+01020304+BgIDBA==\n"),
    ];
    let Policy::Sealed(policy) = load(&directory(&files)).unwrap() else { panic!("unsealed") };
    assert_eq!(policy.skipped().len(), 1);
}

#[test]
fn a_fifo_or_a_huge_file_among_the_keys_costs_itself_only() {
    let huge = "x".repeat(70_000);
    let directory = directory(&[
        ("policy.conf", CONF),
        ("trusted.d/a.vkey", &vkey(&release())),
        ("trusted.d/huge.vkey", &huge),
    ]);
    let fifo = directory.path().join("trusted.d/fifo.vkey");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    fs::create_dir(directory.path().join("trusted.d/directory.vkey")).unwrap();
    let Policy::Sealed(policy) = load(&directory).unwrap() else { panic!("unsealed") };
    assert_eq!((policy.trusted().len(), policy.skipped().len()), (1, 3));
}

#[test]
fn refuses_huge_policy() {
    let huge = format!("{CONF}{}", "#\n".repeat(40_000));
    let directory = directory(&[("policy.conf", &huge), ("trusted.d/a.vkey", &vkey(&release()))]);
    assert!(matches!(load(&directory).unwrap_err(), CheckError::PolicyUnreadable { .. }));
}
