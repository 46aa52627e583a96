//! What the kernel command line says about the root: which deployment, and nothing about trust.

use std::fmt;

/// The arguments that other root-setup programs take as orders about checks. None has an effect here.
const WEAKENING: [&str; 4] = ["ostree.", "ostree-seal", "ostree_seal", "composefs"];

/// What the kernel command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootTarget {
    /// Path of the deployment, or of a symbolic link to it, relative to the physical root and without `.`, `..` or
    /// empty components.
    pub path: String,
    /// Arguments that look like orders to a root-setup program, verbatim. They are ignored, and reported as such.
    pub ignored: Vec<String>,
}

/// Why the command line names no deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CmdlineError {
    /// There is no `ostree=`.
    NoTarget,
    /// The argument of this name is there more than once. Which of them a boot loader meant can't be known.
    Twice(&'static str),
    /// `ostree=` has this value, which isn't a plain path below the physical root.
    NotAPath(String),
    /// `androidboot.slot_suffix=` has this value instead of `_a` or `_b`.
    Slot(String),
}

/// Reads a kernel command line. Arguments are separated by white space; as in ostree, quotes have no meaning.
///
/// `androidboot.slot_suffix` wins over `ostree=`, and any other `androidboot.` argument means slot a.
pub fn parse(text: &str) -> Result<BootTarget, CmdlineError> {
    let arguments = || text.split_ascii_whitespace();
    let slot = only(text, "androidboot.slot_suffix")?;
    let ostree = only(text, "ostree")?;
    let path = match (slot, ostree) {
        (Some("_a"), _) => "/ostree/root.a",
        (Some("_b"), _) => "/ostree/root.b",
        (Some(other), _) => return Err(CmdlineError::Slot(other.to_owned())),
        (None, _) if arguments().any(|argument| argument.starts_with("androidboot.")) => "/ostree/root.a",
        (None, Some(path)) => path,
        (None, None) => return Err(CmdlineError::NoTarget),
    };
    Ok(BootTarget {
        path: below_root(path)?,
        ignored: arguments().filter(|argument| weakens(argument)).map(str::to_owned).collect(),
    })
}

/// The value of `name=`, which may be there once at most.
fn only<'a>(text: &'a str, name: &'static str) -> Result<Option<&'a str>, CmdlineError> {
    let mut values =
        text.split_ascii_whitespace().filter_map(|argument| argument.strip_prefix(name)?.strip_prefix('='));
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(CmdlineError::Twice(name)),
    }
}

/// The path without its leading slashes. The kernel will refuse to leave the physical root (`RESOLVE_BENEATH`); a path
/// that tries to is refused here already, where the sentence can be about the argument.
fn below_root(path: &str) -> Result<String, CmdlineError> {
    let relative = path.trim_start_matches('/').trim_end_matches('/');
    if relative.split('/').any(|component| matches!(component, "" | "." | "..")) {
        return Err(CmdlineError::NotAPath(path.to_owned()));
    }
    Ok(relative.to_owned())
}

fn weakens(argument: &str) -> bool {
    WEAKENING.iter().any(|prefix| argument.starts_with(prefix))
}

impl CmdlineError {
    /// Every word that [`CmdlineError::name`] has.
    pub const NAMES: [&str; 4] = ["cmdline/no-target", "cmdline/twice", "cmdline/not-a-path", "cmdline/slot"];

    /// A word for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoTarget => "cmdline/no-target",
            Self::Twice(_) => "cmdline/twice",
            Self::NotAPath(_) => "cmdline/not-a-path",
            Self::Slot(_) => "cmdline/slot",
        }
    }
}

impl fmt::Display for CmdlineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTarget => write!(
                f,
                "the kernel command line has no ostree= argument, so no deployment was chosen; boot an entry that \
                 ostree wrote, or add ostree=/ostree/boot.N/OS/CHECKSUM/SERIAL"
            ),
            Self::Twice(name) => write!(
                f,
                "the kernel command line has {name}= more than once, expected it once; remove all but the one of the \
                 boot entry"
            ),
            Self::NotAPath(value) => write!(
                f,
                "the kernel command line has ostree={value}, expected a path below the physical root without . or .. \
                 in it; boot an entry that ostree wrote"
            ),
            Self::Slot(value) => write!(
                f,
                "the kernel command line has androidboot.slot_suffix={value}, expected _a or _b; check the boot loader"
            ),
        }
    }
}

impl std::error::Error for CmdlineError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{CmdlineError, parse};

    const TARGET: &str = "ostree=/ostree/boot.1/debian/4f2a/0";

    #[test]
    fn the_path_loses_its_outer_slashes() {
        for text in
            ["ostree=/ostree/boot.1/debian/4f2a/0", "ro ostree=//ostree/boot.1/debian/4f2a/0/ quiet\n"]
        {
            assert_eq!(parse(text).unwrap().path, "ostree/boot.1/debian/4f2a/0");
        }
    }

    #[test]
    fn refuses_missing_target() {
        for text in
            ["", "root=/dev/vda ro", "ostree", "xostree=/a", "ostreex=/a", "ostree.prepare-root.composefs=0"]
        {
            assert_eq!(parse(text), Err(CmdlineError::NoTarget), "{text}");
        }
    }

    #[test]
    fn refuses_target_given_twice() {
        let text = format!("{TARGET} quiet {TARGET}");
        assert_eq!(parse(&text), Err(CmdlineError::Twice("ostree")));
        let text = "androidboot.slot_suffix=_a androidboot.slot_suffix=_b";
        assert_eq!(parse(text), Err(CmdlineError::Twice("androidboot.slot_suffix")));
    }

    #[test]
    fn refuses_target_that_climbs_or_is_empty() {
        for path in
            ["", "/", "/..", "../x", "/ostree/../../x", "/ostree/./x", "/a//b", ".", "/ostree/boot.1/.."]
        {
            assert_eq!(
                parse(&format!("ostree={path}")),
                Err(CmdlineError::NotAPath(path.to_owned())),
                "{path}"
            );
        }
    }

    #[test]
    fn android_slots_win_over_the_path() {
        assert_eq!(parse(&format!("{TARGET} androidboot.slot_suffix=_b")).unwrap().path, "ostree/root.b");
        assert_eq!(parse(&format!("androidboot.mode=normal {TARGET}")).unwrap().path, "ostree/root.a");
        assert_eq!(parse("androidboot.slot_suffix=_c"), Err(CmdlineError::Slot("_c".to_owned())));
    }

    #[test]
    fn arguments_that_try_to_weaken_are_ignored_and_named() {
        let text =
            format!("ostree.prepare-root.composefs=0 {TARGET} ro ostree-seal.mode=unsealed composefs=?ab");
        let target = parse(&text).unwrap();
        assert_eq!(target.path, "ostree/boot.1/debian/4f2a/0");
        assert_eq!(
            target.ignored,
            ["ostree.prepare-root.composefs=0", "ostree-seal.mode=unsealed", "composefs=?ab"]
        );
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_never_climbs(text in any::<String>(), path in "[/.a]{0,12}") {
            let _ = parse(&text);
            if let Ok(target) = parse(&format!("{text} ostree={path}")) {
                assert!(target.path.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            }
        }
    }
}
