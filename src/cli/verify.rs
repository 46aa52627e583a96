//! `ostree-seal verify`: the check that the initramfs makes, anywhere.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueHint};
use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::policy::load;
use ostree_seal_trust::policy::{Policy, SealedPolicy};
use ostree_seal_trust::refusal::Refusal;
use ostree_seal_trust::signatures::{SignatureError, SkippedSignature};
use ostree_seal_trust::vkey::KeyId;
use serde::Serialize;
use subject::{Examined, Measurement, examine_deployment, examine_image, examine_repo};

use super::print;
use crate::refused::Refused;

mod subject; // what is verified: a commit, an image file, a deployment

/// Verify an image as the initramfs does
///
/// Reads the policy and the keys in DIR, and runs the check of the initramfs on the image of a commit, on an image file or
/// on a deployment. Where the kernel doesn't enforce the digest, it is computed, and the output says so.
#[derive(Debug, Args)]
#[command(override_usage = "\
ostree-seal verify [OPTIONS] --trust <DIR> --repo <DIR> <REF>
       ostree-seal verify [OPTIONS] --trust <DIR> --image <FILE> [--note <FILE>]
       ostree-seal verify [OPTIONS] --trust <DIR> --deployment <DIR>")]
#[command(after_help = "\
Exit codes: 0 verified, 1 could not, 2 usage, 3 refused: the initramfs would not
mount the image, or the policy is unsealed, so that nobody would check it.")]
pub(super) struct VerifyArgs {
    /// Directory with policy.conf, trusted.d and revoked.d, such as /usr/lib/ostree-seal
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    trust: PathBuf,

    #[command(flatten)]
    subject: SubjectArgs,

    /// The note for --image; without it, no signature covers the image
    #[arg(long, value_name = "FILE", requires = "image", conflicts_with_all = ["repo", "deployment"])]
    note: Option<PathBuf>,

    /// Threads that read and hash, for --repo [default: all processors]
    #[arg(long, value_name = "N", display_order = 100)]
    threads: Option<std::num::NonZeroUsize>,

    /// A ref, REMOTE:REF, or a commit id, for --repo
    #[arg(value_name = "REF", requires = "repo", conflicts_with_all = ["image", "deployment"])]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    rev: Option<String>,

    /// Print a JSON object instead of lines
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SubjectArgs {
    /// The repository with the commit REF
    #[arg(long, value_name = "DIR", requires = "rev")]
    repo: Option<PathBuf>,

    /// An image file
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,

    /// A deployment's directory, SYSROOT/ostree/deploy/OS/deploy/CHECKSUM.SERIAL
    #[arg(long, value_name = "DIR")]
    deployment: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Debug, Clone, Serialize)]
struct Output {
    /// `verified`, `refused` or `unsealed`.
    verdict: &'static str,
    /// Why not.
    reason: Option<String>,
    /// The digest that the image has.
    digest: Option<String>,
    /// `measured` by the kernel, which enforces it, or `computed` here.
    digest_source: Option<&'static str>,
    /// The digest that was signed.
    expected_digest: Option<String>,
    /// `note` or `commit`.
    evidence: Option<String>,
    product: Option<String>,
    index: Option<u64>,
    /// The commit that was signed or that the note names.
    commit: Option<String>,
    /// The keys that counted.
    keys: Vec<String>,
    skipped_signatures: Vec<Skipped>,
    skipped_keys: Vec<Skipped>,
}

/// Something that didn't count.
#[derive(Debug, Clone, Serialize)]
struct Skipped {
    /// The key or file.
    name: Option<String>,
    reason: String,
}

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<()> {
    ensure!(
        args.trust.is_dir(),
        "there is no directory {}; --trust names one as an initramfs has it in /usr/lib/ostree-seal, with policy.conf and \
         trusted.d",
        args.trust.display()
    );
    let policy = match load(&args.trust) {
        Ok(policy) => policy,
        Err(refusal) => {
            let reason = match refusal {
                // Nobody asks for an initramfs here.
                CheckError::PolicyMissing { path } => format!(
                    "there is no policy at {}; --trust names a directory with policy.conf and trusted.d",
                    path.display()
                ),
                refusal => refusal.to_string(),
            };
            return finish(args, &Output::empty(), Some(reason));
        }
    };
    let Policy::Sealed(policy) = policy else {
        let output = Output { verdict: "unsealed", ..Output::empty() };
        let reason = format!("the policy in {} is unsealed: nothing is checked", args.trust.display());
        return finish(args, &output, Some(reason));
    };
    match examine(args, &policy)? {
        Ok(examined) => {
            let reason = examined.verdict.as_ref().err().map(|refusal| match refusal {
                Refusal::NoEvidence { .. } if args.subject.image.is_some() && args.note.is_none() => {
                    format!("{refusal}; name the image's note with --note=FILE")
                }
                refusal => refusal.to_string(),
            });
            finish(args, &Output::of(&examined, &policy), reason)
        }
        Err(refusal) => finish(args, &Output::empty(), Some(refusal.to_string())),
    }
}

/// The outer error is for what couldn't be done, the inner one for what is refused before there is anything to examine.
fn examine(args: &VerifyArgs, policy: &SealedPolicy) -> anyhow::Result<Result<Examined, CheckError>> {
    match (&args.subject.repo, &args.rev, &args.subject.image, &args.subject.deployment) {
        (Some(repo), Some(rev), None, None) => examine_repo((repo, rev), args.threads, policy),
        (None, None, Some(image), None) => examine_image(image, args.note.as_deref(), policy),
        (None, None, None, Some(deployment)) => examine_deployment(deployment, policy),
        _ => bail!("one of --repo with REF, --image and --deployment must be given"),
    }
}

fn finish(args: &VerifyArgs, output: &Output, reason: Option<String>) -> anyhow::Result<()> {
    match args.json {
        true => print::json(&Output { reason: reason.clone(), ..output.clone() })?,
        false => output.print()?,
    }
    match reason {
        None => Ok(()),
        Some(reason) => Err(Refused(reason)).context("verifying"),
    }
}

impl Output {
    fn empty() -> Self {
        Self {
            verdict: "refused",
            reason: None,
            digest: None,
            digest_source: None,
            expected_digest: None,
            evidence: None,
            product: None,
            index: None,
            commit: None,
            keys: Vec::new(),
            skipped_signatures: Vec::new(),
            skipped_keys: Vec::new(),
        }
    }

    fn of(examined: &Examined, policy: &SealedPolicy) -> Self {
        let claim = examined.claim.as_ref();
        let (counted, skipped) = signatures(examined);
        Self {
            verdict: if examined.verdict.is_ok() { "verified" } else { "refused" },
            reason: None,
            digest: Some(examined.digest.to_string()),
            digest_source: Some(match examined.measurement {
                Measurement::Measured => "measured",
                Measurement::Computed => "computed",
            }),
            expected_digest: claim.map(|claim| claim.digest.to_string()),
            evidence: examined.kind.map(|kind| kind.to_string()),
            product: claim.and_then(|claim| claim.product.as_ref()).map(ToString::to_string),
            index: claim.and_then(|claim| claim.index),
            commit: claim.and_then(|claim| claim.commit).map(|commit| commit.to_string()),
            keys: counted.iter().map(ToString::to_string).collect(),
            skipped_signatures: skipped
                .iter()
                .map(|skipped| Skipped { name: skipped.key.clone(), reason: skipped.reason.to_string() })
                .collect(),
            skipped_keys: policy.skipped().iter().map(skipped_key).collect(),
        }
    }

    fn print(&self) -> anyhow::Result<()> {
        print::line(&self.verdict)?;
        let source = match self.digest_source {
            Some("computed") => " (computed; no kernel enforces it)",
            _ => "",
        };
        let skipped = |skipped: &Skipped| {
            format!("{}: {}", skipped.name.as_deref().unwrap_or("a signature"), skipped.reason)
        };
        let mut lines = Vec::new();
        lines.extend(self.digest.as_ref().map(|digest| ("image", format!("{digest}{source}"))));
        lines.extend(self.expected_digest.clone().map(|digest| ("signed", digest)));
        lines.extend(self.evidence.clone().map(|kind| ("evidence", kind)));
        lines.extend(self.product.clone().map(|product| ("product", product)));
        lines.extend(self.index.map(|index| ("index", index.to_string())));
        lines.extend(self.commit.clone().map(|commit| ("commit", commit)));
        lines.extend(self.keys.iter().map(|key| ("key", key.clone())));
        lines.extend(self.skipped_signatures.iter().map(|signature| ("skipped", skipped(signature))));
        lines.extend(self.skipped_keys.iter().map(|key| ("skipped", skipped(key))));
        lines.iter().try_for_each(|(name, value)| print::line(&format!("{name:<9} {value}")))
    }
}

/// The keys that counted and the signatures that didn't, whether there were enough of the former or not.
fn signatures(examined: &Examined) -> (&[KeyId], &[SkippedSignature]) {
    match (&examined.claim, &examined.verdict) {
        (Some(claim), _) => (&claim.signers, &claim.skipped),
        (None, Err(Refusal::Signatures(SignatureError::TooFew { counted, skipped, .. }))) => {
            (counted, skipped)
        }
        (None, _) => (&[], &[]),
    }
}

fn skipped_key(key: &ostree_seal_trust::policy::SkippedKey) -> Skipped {
    Skipped { name: Some(key.path.clone()), reason: key.reason.to_string() }
}
