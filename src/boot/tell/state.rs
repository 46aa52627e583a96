//! `/run/ostree-seal/state.json`: how this root came to be, for `ostree seal status` and whoever else wants to know.

use std::fmt::Write;
use std::time::{Duration, Instant};

use ostree_seal_trust::claim::Claim;
use ostree_seal_trust::policy::SealedPolicy;

use crate::layout::prepare_root_conf::RootMode;
use crate::mount::Method;
use crate::tpm::Measured;

/// The file, in `/run`.
pub const STATE_FILE: &str = "ostree-seal/state.json";

/// How this root came to be. What is unknown is `null` in the file.
#[derive(Debug, Clone, Default)]
pub struct BootState {
    /// Whether the image passed the check. `false` is the policy's `mode = unsealed`.
    pub sealed: bool,
    /// The image's fs-verity digest as the kernel measured it.
    pub digest: Option<String>,
    /// The commit, as the check confirmed it or, unsealed, as the deployment's name claims it.
    pub commit: Option<String>,
    /// The signed product.
    pub product: Option<String>,
    /// The signed index.
    pub index: Option<u64>,
    /// The kind of evidence that decided: `note` or `commit`.
    pub evidence: Option<String>,
    /// The keys that counted.
    pub keys: Vec<String>,
    /// Keys and signatures that did not count, each with the reason.
    pub skipped: Vec<String>,
    /// The policy file.
    pub policy: String,
    /// The deployment's path below the physical root.
    pub deployment: String,
    /// How the image was mounted; `None` if the deployment's directory itself is the root.
    pub method: Option<Method>,
    /// What can be done to `/`.
    pub root: RootMode,
    /// Kernel arguments that looked like orders and were ignored.
    pub ignored: Vec<String>,
    /// What was measured into the TPM, if the policy asks for it.
    pub measured: Option<Measured>,
    /// The time that each step took.
    pub steps: Steps,
}

/// The time that each step took.
#[derive(Debug, Clone)]
pub struct Steps {
    last: Instant,
    taken: Vec<(&'static str, Duration)>,
}

impl Steps {
    /// Ends a step, which began where the one before ended.
    pub fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        self.taken.push((name, now.duration_since(self.last)));
        self.last = now;
    }
}

/// The first step begins.
impl Default for Steps {
    fn default() -> Self {
        Self { last: Instant::now(), taken: Vec::new() }
    }
}

impl BootState {
    /// What was signed, by whom, and which policy asked for it.
    pub fn take_claim(&mut self, claim: &Claim, policy: &SealedPolicy) {
        self.policy = policy.path().to_owned();
        self.digest = Some(claim.digest.to_string());
        self.commit = claim.commit.map(|commit| commit.to_string());
        self.product = claim.product.as_ref().map(ToString::to_string);
        self.index = claim.index;
        self.evidence = Some(claim.kind.to_string());
        self.keys = claim.signers.iter().map(ToString::to_string).collect();
        let keys = policy.skipped().iter().map(ToString::to_string);
        let signatures = claim.skipped.iter().map(ToString::to_string);
        self.skipped = keys.chain(signatures).collect();
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        let method = self.method.as_ref();
        let mount = object(&[
            ("image", opt(method.map(|method| method.image.to_string()).as_deref())),
            ("layers", opt(method.map(|method| method.layers.to_string()).as_deref())),
            ("verity", opt(self.sealed.then_some("require"))),
            ("root", string(root_name(self.root))),
        ]);
        let mut total = Duration::ZERO;
        let mut steps = Vec::new();
        for (name, taken) in &self.steps.taken {
            total += *taken;
            steps.push((*name, taken.as_micros().to_string()));
        }
        steps.push(("total", total.as_micros().to_string()));
        let mut text = object(&[
            ("version", "1".to_owned()),
            ("mode", string(if self.sealed { "sealed" } else { "unsealed" })),
            ("digest", opt(self.digest.as_deref())),
            ("commit", opt(self.commit.as_deref())),
            ("product", opt(self.product.as_deref())),
            ("index", self.index.map_or_else(|| "null".to_owned(), |index| index.to_string())),
            ("evidence", opt(self.evidence.as_deref())),
            ("keys", list(&self.keys)),
            ("skipped", list(&self.skipped)),
            ("policy", string(&self.policy)),
            ("deployment", string(&self.deployment)),
            ("mount", mount),
            ("ignored_arguments", list(&self.ignored)),
            ("measured", opt(self.measured.as_ref().map(Measured::to_string).as_deref())),
            ("microseconds", object(&steps)),
        ]);
        text.push('\n');
        text
    }
}

fn root_name(root: RootMode) -> &'static str {
    match root {
        RootMode::ReadOnly => "read-only",
        RootMode::Transient => "transient",
        RootMode::TransientReadOnly => "transient-ro",
    }
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{}:{value}", string(name))).collect();
    format!("{{{}}}", members.join(","))
}

fn list(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| string(value)).collect();
    format!("[{}]", values.join(","))
}

fn opt(value: Option<&str>) -> String {
    value.map_or_else(|| "null".to_owned(), string)
}

/// A JSON string (RFC 8259). Some values come from the kernel command line or the disk.
fn string(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            // Writing to a String can't fail.
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{BootState, Steps, string};

    #[test]
    fn an_empty_state_says_unsealed_and_null() {
        let state = BootState { steps: Steps::default(), ..BootState::default() };
        let expected = concat!(
            r#"{"version":1,"mode":"unsealed","digest":null,"commit":null,"product":null,"index":null,"#,
            r#""evidence":null,"keys":[],"skipped":[],"policy":"","deployment":"","#,
            r#""mount":{"image":null,"layers":null,"verity":null,"root":"read-only"},"#,
            r#""ignored_arguments":[],"measured":null,"microseconds":{"total":0}}"#,
            "\n"
        );
        assert_eq!(state.to_json(), expected);
    }

    #[test]
    fn quotes_and_control_characters_are_escaped() {
        assert_eq!(string("a\"b\\c\n\u{7f}é"), r#""a\"b\\c\u000a\u007fé""#);
    }

    #[test]
    fn an_index_keeps_all_its_digits() {
        let state = BootState { index: Some(u64::MAX), ..BootState::default() };
        assert!(state.to_json().contains(r#""index":18446744073709551615,"#));
    }

    proptest! {
        #[test]
        fn any_text_stays_one_string(value in any::<String>()) {
            let text = string(&value);
            let inner = &text[1..text.len() - 1];
            assert!(!inner.chars().any(char::is_control));
            // Every quote within is escaped: it is preceded by an odd number of backslashes.
            for (position, _) in inner.match_indices('"') {
                let slashes = inner[..position].bytes().rev().take_while(|byte| *byte == b'\\').count();
                assert_eq!(slashes % 2, 1);
            }
        }
    }
}
