//! The plan of the house: no circle of files in any of the three packages, and a trust core that stays small and pure.

#![allow(clippy::unwrap_used, reason = "a test program: a panic is its answer")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Files of a package by their module paths, `[]` for its `lib.rs`.
type Modules = BTreeMap<Vec<String>, Source>;

struct Source {
    file: PathBuf,
    /// Without comments and without tests.
    code: String,
    /// The modules that the file declares.
    children: BTreeSet<String>,
}

/// Each file below a package's root, other packages' folders and tests left out.
fn modules(root: &Path, other_packages: &[&str]) -> Modules {
    let mut modules = Modules::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(root).unwrap().to_owned();
            let name = below.to_str().unwrap();
            if path.is_dir() && !other_packages.contains(&name) && !["tests", "examples"].contains(&name) {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(name) {
                let code = code_of(&fs::read_to_string(&path).unwrap());
                let children = declared(&code);
                modules.insert(module_path(&below), Source { file: path, code, children });
            }
        }
    }
    modules
}

fn is_test(name: &str) -> bool {
    name == "main.rs" || name.ends_with("tests.rs") || name.contains("/tests/")
}

fn module_path(below: &Path) -> Vec<String> {
    let mut path: Vec<String> =
        below.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if path.last().is_some_and(|last| last == "mod") || path == ["lib"] {
        path.pop();
    }
    path
}

/// The text without comments and without what is compiled for tests only.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

fn declared(code: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
        Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    code.lines().filter_map(name).collect()
}

/// Every path of names in the code that begins with `crate`, `super`, `self` or a module that is declared there: with the
/// braces of a `use` multiplied out.
fn paths(source: &Source) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let code = &source.code;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    for (start, _) in code.match_indices("::") {
        let head = &code[..start];
        let first = head.rsplit(|c: char| !is_name(c)).next().unwrap_or_default();
        let rooted = ["crate", "super", "self"].contains(&first) || source.children.contains(first);
        if rooted && !head[..head.len() - first.len()].ends_with("::") {
            expand(&code[start..], &[first.to_owned()], &mut paths);
        }
    }
    paths
}

/// Follows `::name::{a, b::c}` and returns what is left behind it.
fn expand<'a>(mut rest: &'a str, before: &[String], paths: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = before.to_vec();
    loop {
        let Some(next) = rest.strip_prefix("::") else {
            paths.push(path);
            return rest;
        };
        if let Some(mut list) = next.strip_prefix('{') {
            loop {
                list = list.trim_start_matches([' ', '\n', ',']);
                if let Some(rest) = list.strip_prefix('}') {
                    return rest;
                }
                let end = list.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap();
                assert!(end > 0, "a use that is not understood: {}", &list[..list.len().min(40)]);
                let item = [path.as_slice(), &[list[..end].to_owned()]].concat();
                list = expand(&list[end..], &item, paths);
                list = list.split_once([',', '}']).map_or("", |(skipped, _)| &list[skipped.len()..]);
            }
        }
        let end = next.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(next.len());
        path.push(next[..end].to_owned());
        rest = &next[end..];
    }
}

/// The file that a path leads to, seen from a module: the deepest one on the way.
fn target<'a>(modules: &'a Modules, from: &[String], path: &[String]) -> Option<&'a Source> {
    let mut absolute: Vec<String> = match path[0].as_str() {
        "crate" => Vec::new(),
        _ => from.to_vec(),
    };
    for part in path {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => {
                absolute.pop();
            }
            part => absolute.push(part.to_owned()),
        }
    }
    (0..=absolute.len()).rev().find_map(|len| modules.get(&absolute[..len]))
}

fn imports(modules: &Modules) -> BTreeMap<&Path, BTreeSet<&Path>> {
    modules
        .iter()
        .map(|(from, source)| {
            let targets = paths(source)
                .iter()
                .filter_map(|path| target(modules, from, path))
                .map(|target| target.file.as_path())
                .filter(|file| *file != source.file)
                .collect();
            (source.file.as_path(), targets)
        })
        .collect()
}

/// The files that import themselves by way of others, each with those of its imports that lead back to it.
fn circles<'a>(imports: &BTreeMap<&'a Path, BTreeSet<&'a Path>>) -> BTreeMap<&'a Path, BTreeSet<&'a Path>> {
    let reached = |from: &Path| {
        let mut reached = BTreeSet::new();
        let mut left: Vec<&Path> = imports[from].iter().copied().collect();
        while let Some(file) = left.pop() {
            if reached.insert(file) {
                left.extend(&imports[file]);
            }
        }
        reached
    };
    let all: BTreeMap<&Path, BTreeSet<&Path>> = imports.keys().map(|file| (*file, reached(file))).collect();
    let back =
        |file: &Path| imports[file].iter().copied().filter(|target| all[target].contains(file)).collect();
    imports.keys().filter(|file| all[*file].contains(*file)).map(|file| (*file, back(file))).collect()
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name)
}

#[test]
fn no_file_of_the_trust_core_imports_in_a_circle() {
    let modules = modules(&source("trust"), &[]);
    let imports = imports(&modules);
    assert!(
        imports.values().map(BTreeSet::len).sum::<usize>() > 20,
        "the imports are not found: {imports:#?}"
    );
    assert_eq!(circles(&imports), BTreeMap::new());
}

#[test]
fn no_file_of_the_boot_program_imports_in_a_circle() {
    let modules = modules(&source("boot"), &[]);
    let imports = imports(&modules);
    assert!(
        imports.values().map(BTreeSet::len).sum::<usize>() > 20,
        "the imports are not found: {imports:#?}"
    );
    assert_eq!(circles(&imports), BTreeMap::new());
}

#[test]
fn no_file_of_the_host_side_imports_in_a_circle() {
    let modules = modules(&source(""), &["trust", "boot"]);
    assert_eq!(circles(&imports(&modules)), BTreeMap::new());
}

#[test]
fn a_circle_is_found() {
    let file = |name: &str, code: &str| {
        let (path, code) = (PathBuf::from(name), code_of(code));
        let children = declared(&code);
        (module_path(&path), Source { file: path, code, children })
    };
    let modules = Modules::from([
        file("lib.rs", "pub mod a; mod b;\nmod c;"),
        file("a.rs", "use crate::{b::{self, X}, c};\n"),
        file("b.rs", "use super::c::Y; // crate::a\n"),
        file("c/mod.rs", "mod d;\nfn f() { d::g() }"),
        file("c/d.rs", "fn g() { super::super::b::h() }"),
    ]);
    let found = circles(&imports(&modules));
    let names: Vec<_> = found.keys().map(|file| file.to_str().unwrap()).collect();
    assert_eq!(names, ["b.rs", "c/d.rs", "c/mod.rs"]);
}

#[test]
fn the_ways_through_the_code_are_short_and_lead_through_files_that_are_there() {
    let text = fs::read_to_string(source("../docs/architecture.md")).unwrap();
    for (way, most) in [("commit", 8), ("note's bytes", 8), ("staged deployment", 10)] {
        let section = text.split(&format!("## The way of a {way}\n")).nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let is_station = |line: &&str| line.split_once(". ").is_some_and(|(n, _)| n.parse::<usize>().is_ok());
        let stations: Vec<_> = section.lines().filter(is_station).collect();
        assert!((5..=most).contains(&stations.len()), "{way}: {stations:#?}");
        for station in stations {
            let mut quoted = station.split('`').skip(1).step_by(2);
            assert!(quoted.any(|name| source(name).exists()), "{way}: no file of src in: {station}");
        }
        for file in section.split('`').filter(|name| name.ends_with(".rs")) {
            let is_there = source(file).exists() || source("trust").join(file).exists();
            assert!(is_there, "{way}: there is no {file}");
        }
    }
}

/// Lines of code: no blank ones, no comments, no tests.
#[test]
fn the_trust_core_has_at_most_2000_lines_of_code() {
    let modules = modules(&source("trust"), &[]);
    let lines = |source: &Source| source.code.lines().filter(|line| !line.trim().is_empty()).count();
    let total: usize = modules.values().map(lines).sum();
    println!("{total} lines of code in {} files", modules.len());
    assert!((1000..=2000).contains(&total), "{total}");
}

#[test]
fn the_trust_core_depends_on_three_packages() {
    let manifest = fs::read_to_string(source("trust/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<_> =
        dependencies.lines().map(|line| line.split(['.', ' ', '=']).next().unwrap()).collect();
    assert_eq!(names, ["base64ct", "ed25519-dalek", "sha2"]);
}

/// Who reads files by a path other than with `beneath`, and why he may.
const READERS: [(&str, &str); 12] = [
    ("atomic.rs", "the directories that it writes to"),
    ("cli/input.rs", "files that the user names, with a limit"),
    ("cli/mkimage.rs", "a file that the user names"),
    ("cli/verity.rs", "an image that the user names"),
    ("cli/verify/subject.rs", "a file that the user names"),
    ("deploy/filesystem.rs", "/proc"),
    ("look/sides.rs", "a directory that the user names"),
    ("offline/skeleton.rs", "the directory that it has just made"),
    ("output.rs", "the file that it has just made"),
    ("repo/replace.rs", "the file that it has just made"),
    ("seal.rs", "a file that the user names, with a limit"),
    ("signing.rs", "a file that the user names, with a limit"),
];

/// Whoever made a deployment, its boot partition or a record may have put anything there.
#[test]
fn what_nobody_vouches_for_is_read_in_one_place() {
    let reads = ["fs::read(", "File::open(", "read_to_string(", "read_dir(", "OpenOptions"];
    let mut found = BTreeSet::new();
    for source in modules(&source(""), &["trust", "boot"]).values() {
        let code = &source.code;
        let is_path = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric()); // not `erofs::read`
        if reads.iter().any(|read| code.match_indices(read).any(|(at, _)| is_path(at))) {
            found.insert(source.file.strip_prefix(self::source("")).unwrap().to_str().unwrap().to_owned());
        }
    }
    let allowed: BTreeSet<String> = READERS.iter().map(|(file, _)| (*file).to_owned()).collect();
    let news: Vec<_> = found.difference(&allowed).collect();
    assert_eq!(news, [""; 0], "read it with `beneath::Below`, or say here why not");
    let gone: Vec<_> = allowed.difference(&found).collect();
    assert_eq!(gone, [""; 0], "no longer needed in the list");
}

/// The types that a file declares: names, and how far each can be seen.
fn types(source: &Source) -> Vec<(String, &'static str)> {
    let declared = |line: &str| {
        let (seen, rest) = match line.split_once(' ')? {
            ("pub" | "pub(crate)", rest) => ("everywhere", rest),
            (word, rest) if word.starts_with("pub(") => ("room", rest),
            _ => ("file", line),
        };
        let (kind, rest) = rest.split_once(' ')?;
        let name = rest.split(|c: char| !c.is_alphanumeric()).next()?;
        ["struct", "enum", "trait", "type"].contains(&kind).then(|| (name.to_owned(), seen))
    };
    source.code.lines().filter_map(declared).collect()
}

/// Who reads a name knows which type is meant: no two that can be used everywhere have one name, no two that can be used
/// in a room, and a file's own type has a name that few others have.
#[test]
fn one_name_is_one_type() {
    let mut all: BTreeMap<String, Vec<(PathBuf, &str)>> = BTreeMap::new();
    for source in modules(&source(""), &[]).values() {
        for (name, seen) in types(source) {
            let file = source.file.strip_prefix(self::source("")).unwrap().to_owned();
            all.entry(name).or_default().push((file, seen));
        }
    }
    assert!(all.len() > 300, "the types are not found: {}", all.len());
    // What each command prints with --json, and each room's own `Result<T>`.
    let alike = ["Report", "Result"];
    for (name, places) in all.iter().filter(|(name, _)| !alike.contains(&name.as_str())) {
        let everywhere = places.iter().filter(|(_, seen)| *seen == "everywhere").count();
        assert!(everywhere < 2, "{name} can be used everywhere and is several types: {places:?}");
        let rooms: Vec<_> =
            places.iter().filter(|(_, seen)| *seen != "file").map(|(file, _)| file.iter().next()).collect();
        let once: BTreeSet<_> = rooms.iter().collect();
        assert_eq!(once.len(), rooms.len(), "{name} is several types in a room: {places:?}");
        assert!(places.len() <= 4, "{name} is {} types: {places:?}", places.len());
    }
}

/// `lib.rs` of the trust core promises that each file uses only those before it in the list.
#[test]
fn the_trust_core_is_listed_in_the_order_in_which_it_is_used() {
    let modules = modules(&source("trust"), &[]);
    let order: Vec<&str> = modules[&[][..]]
        .code
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';')?.rsplit_once("mod "))
        .map(|(_, name)| name)
        .collect();
    assert!(order.len() > 10, "{order:?}");
    let place =
        |path: &[String]| order.iter().position(|name| path.first().is_some_and(|first| first == name));
    for (from, source) in &modules {
        for path in paths(source).iter().filter(|path| path[0] == "crate") {
            let (user, used) = (place(from), place(&path[1..]));
            assert!(used <= user, "{}: {path:?} comes later in lib.rs", source.file.display());
        }
    }
}

/// rustfmt sorts modules and leaves their comments behind.
#[test]
fn each_module_has_its_own_comment() {
    for root in ["", "trust", "boot"] {
        for file in modules(&source(root), &["trust", "boot"]).values().map(|source| &source.file) {
            let text = fs::read_to_string(file).unwrap();
            let is_module = |line: &&str| line.starts_with("mod ") || line.starts_with("pub mod ");
            for line in text.lines().filter(is_module) {
                assert!(line.matches(" // ").count() <= 1, "{}: {line}", file.display());
            }
        }
    }
}
