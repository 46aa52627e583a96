//! The documents keep their promises: what can be pasted works, links lead somewhere, each test that is named exists, and
//! each refusal is explained.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ostree_seal::continuity::judge::Objection;
use ostree_seal::doctor;
use ostree_seal_root::error::BootError;

/// The line above a block of text that is no command, or that can't be run here, says so to the reader. A block without
/// such a line is run.
const MARK: &str = "ot run by the tests";

/// A document whose commands go on where another one's ended, and says so.
const AFTER: [(&str, &str); 1] = [("docs/signing.md", "docs/tutorial.md")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap()
}

/// All files that git would see, below the repository's root.
fn files() -> BTreeSet<String> {
    const NOT_OURS: [&str; 3] = ["target", "corpus", "artifacts"];
    let mut files = BTreeSet::new();
    let mut directories = vec![root().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !path.is_symlink() {
                if !name.starts_with('.') && !NOT_OURS.contains(&name) {
                    directories.push(path);
                }
            } else {
                files.insert(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files
}

/// Documents by their path, each with its text.
fn documents() -> BTreeMap<String, String> {
    let documents = files().into_iter().filter(|file| file.ends_with(".md"));
    let documents: BTreeMap<_, _> = documents.map(|file| (file.clone(), read(&file))).collect();
    assert!(documents.len() > 15, "{:?}", documents.keys());
    documents
}

/// The README and what it leads to: what somebody reads who wants to use the program.
fn manual() -> impl Iterator<Item = (String, String)> {
    documents().into_iter().filter(|(name, _)| name == "README.md" || name.starts_with("docs/"))
}

/// A document's text between two lines of ```, and the last line before it that isn't empty.
fn blocks(document: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut above = "";
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            blocks.push((above, block.join("\n") + "\n"));
        } else if !line.trim().is_empty() {
            above = line;
        }
    }
    blocks
}

/// A document without its blocks.
fn prose(document: &str) -> String {
    document.split("\n```").step_by(2).collect()
}

fn script(document: &str) -> String {
    let run = blocks(document).into_iter().filter(|(above, _)| !above.contains(MARK));
    run.map(|(_, block)| block).collect()
}

/// Runs a script as somebody does who pastes it line by line and stops at the first error.
fn paste(script: &str) -> String {
    let scratch = common::scratch();
    let script = format!("set -e -o pipefail\n{script}");
    let output = common::container_shell().args(["-c", &script]).current_dir(&scratch).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

#[test]
fn what_can_be_pasted_works_when_pasted() {
    let mut pasted = BTreeSet::new();
    for (name, text) in manual() {
        let mut script = script(&text);
        if script.is_empty() {
            continue;
        }
        if let Some((_, before)) = AFTER.iter().find(|(after, _)| *after == name) {
            assert!(text.contains("The commands go on where [the tutorial]"), "{name}");
            script.insert_str(0, &self::script(&read(before)));
        }
        let said = paste(&script);
        if name != "docs/signing.md" {
            assert!(said.contains("refused with exit code 3"), "{name}: {said}");
        }
        pasted.insert(name);
    }
    let expected = ["README.md", "docs/ci.md", "docs/signing.md", "docs/tutorial.md"];
    assert!(expected.iter().all(|name| pasted.contains(*name)), "{pasted:?}");
}

#[test]
fn a_block_is_run_unless_the_line_above_it_says_that_it_is_not() {
    let text =
        "*Not run by the tests: a format.*\n\n```\nno\n```\n\nAnd:\n\n```sh\nyes\n```\n```\nyes, too\n```\n";
    assert_eq!(script(text), "yes\nyes, too\n");
    assert_eq!(prose("a\n```\nb\n```\nc\n"), "a\nc\n");
}

/// Other ways to set a block would not be run.
#[test]
fn there_is_one_way_to_set_a_block() {
    for (name, text) in manual() {
        for line in prose(&text).lines() {
            let is_block = ["    ", "\t", "~~~"].iter().any(|start| line.starts_with(start));
            assert!(!is_block, "{name} has a block without ```: {line}");
        }
    }
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 120, "{lines} lines");
}

/// The names of all Rust tests.
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in files().iter().filter(|file| file.ends_with(".rs")) {
        let text = read(file);
        let marked = text.lines().zip(text.lines().skip(1)).filter(|(mark, _)| mark.trim() == "#[test]");
        tests
            .extend(marked.filter_map(|(_, line)| {
                Some(line.trim().strip_prefix("fn ")?.split_once('(')?.0.to_owned())
            }));
    }
    tests
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a name is one that only tests have: a sentence.
fn is_sentence(name: &str) -> bool {
    name.matches('_').count() > 2
        && name.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
}

#[test]
fn each_claim_names_a_test_that_exists() {
    let tests = tests();
    let claims = read("docs/claims.md");
    let rows: Vec<&str> = claims.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 30);
    for row in rows {
        let names: Vec<&str> = quoted(row.rsplit('|').nth(1).unwrap()).collect();
        assert!(!names.is_empty(), "no test is named: {row}");
        for name in names {
            let exists = match name.strip_prefix("tests/vm/") {
                Some(guest) => root().join("tests/vm").join(guest).is_dir(),
                None => tests.contains(name) || (name.ends_with(".sh") && root().join(name).is_file()),
            };
            assert!(exists, "docs/claims.md names {name}, which doesn't exist");
        }
    }
    for (document, text) in manual() {
        for name in quoted(&prose(&text)).filter(|name| is_sentence(name)) {
            assert!(tests.contains(name), "{document} names the test {name}, which doesn't exist");
        }
    }
}

/// The name that GitHub gives to a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.trim().to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// Where the links and pictures of a document lead, but for those that leave the project.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.filter(|target| !target.starts_with("http")).collect()
}

#[test]
fn links_lead_somewhere() {
    let documents = documents();
    let mut count = 0;
    for (document, text) in &documents {
        for link in links(text) {
            let (file, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let directory = root().join(document).parent().unwrap().to_owned();
            let path = if file.is_empty() { root().join(document) } else { directory.join(file) };
            assert!(path.exists(), "{document} links to {link}, which isn't there");
            if !fragment.is_empty() {
                let there = anchors(&fs::read_to_string(&path).unwrap());
                assert!(there.contains(fragment), "{document} links to {link}, which has no such heading");
            }
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
    assert_eq!(anchor(" `state.json`"), "statejson");
}

/// Whether a quoted text is the path of a file or folder of this project, by its look.
fn names_a_file(text: &str, folders: &BTreeSet<&str>) -> bool {
    const ENDINGS: [&str; 5] = [".rs", ".sh", ".md", ".svg", ".txt"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let first = text.split('/').next().unwrap();
    text.chars().all(plain)
        && !text.starts_with(['/', '.'])
        && (ENDINGS.iter().any(|ending| text.ends_with(ending))
            || (text.contains('/') && folders.contains(first)))
}

#[test]
fn no_document_names_a_file_that_is_not_there() {
    let files = files();
    let folders: BTreeSet<&str> = files.iter().filter_map(|file| Some(file.split_once('/')?.0)).collect();
    let mut count = 0;
    for (document, text) in documents() {
        let prose = prose(&text);
        for name in quoted(&prose).filter(|text| names_a_file(text, &folders)) {
            let name = name.trim_end_matches('/');
            let ending = PathBuf::from(name);
            let there =
                root().join(name).exists() || files.iter().any(|file| Path::new(file).ends_with(&ending));
            assert!(there, "{document} names {name}, which isn't there");
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
}

/// The words that are headings of the third level below a heading of the second.
fn explained(document: &str, heading: &str) -> BTreeSet<String> {
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let words = section.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    words.map(str::to_owned).collect()
}

#[test]
fn troubleshooting_explains_each_refusal_and_each_line_of_doctor() {
    let document = read("docs/troubleshooting.md");
    let refusals: BTreeSet<String> = BootError::names().map(str::to_owned).collect();
    assert_eq!(explained(&document, "Refusals at boot"), refusals, "left: explained, right: in the code");
    let checks: BTreeSet<String> = doctor::CHECKS.into_iter().map(str::to_owned).collect();
    assert_eq!(explained(&document, "Lines of doctor"), checks, "left: explained, right: in the code");
    // A word that is in the list only explains nothing that doctor says.
    let sources = files().into_iter().filter(|file| file.starts_with("src/doctor/"));
    let source: String = sources.map(|file| read(&file)).collect();
    for check in checks {
        assert!(source.matches(&format!("\"{check}\"")).count() > 1, "doctor never says {check}");
    }
}

#[test]
fn troubleshooting_explains_each_objection_of_the_running_system() {
    let document = read("docs/troubleshooting.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `continuity/")?.split_once('`'));
    let explained: BTreeSet<String> = rows.map(|(word, _)| format!("continuity/{word}")).collect();
    let words: BTreeSet<String> = Objection::WORDS.into_iter().map(str::to_owned).collect();
    assert_eq!(explained, words, "left: explained, right: in the code");
}

/// `journalctl -x` finds an entry by its id; the deployment that was found is ostree-prepare-root's message.
#[test]
fn the_journal_explains_each_kind_of_message() {
    let source = read("src/boot/tell/journal.rs");
    let kinds = source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.strip_suffix("\","));
    let kinds: Vec<(&str, &str)> = kinds.filter_map(|line| line.split_once(" => \"")).collect();
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    let catalog = read("systemd/ostree-seal.catalog");
    for (kind, id) in kinds.iter().filter(|(kind, _)| *kind != "Resolved") {
        let entry = catalog.split_once(&format!("-- {id}\nSubject: "));
        let (_, entry) = entry.unwrap_or_else(|| panic!("the catalogue has no entry for {kind}, {id}"));
        assert!(
            entry.starts_with(|c: char| c.is_uppercase()) && entry.contains("\nDefined-By: ostree-seal\n\n"),
            "{kind}"
        );
    }
    assert_eq!(catalog.lines().filter(|line| line.starts_with("-- ")).count(), kinds.len() - 1);
    let fields =
        ["tell/fields.rs", "tell/announce.rs", "run.rs"].map(|name| read(&format!("src/boot/{name}")));
    let fields = fields.concat();
    for field in catalog.split('@').skip(1).step_by(2).filter(|field| field.starts_with("OSTREE_SEAL_")) {
        assert!(fields.contains(field), "no message has the field {field}");
    }
}
