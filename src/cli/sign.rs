//! `ostree-seal sign`: sign the digest of a commit's image.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::note::{Note, Statement};
use serde::Serialize;

use super::bindings::BindingArgs;
use super::commit::CommitArgs;
use super::print;
use crate::repo::{Commit, Embedded, Source};
use crate::seal::{add_signature, read_note, write_note};
use crate::signing::PrivateKey;

/// Sign the image of a commit
///
/// Makes a note about the commit's image, signs it and keeps it in the commit's detached metadata, where `ostree pull`
/// takes it along. Each content is read and compared with its checksum, so that nothing damaged is signed. A note with the same text gets one more signature; other detached metadata stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 could not, 2 usage, 3 refused: the commit promises another
digest (ostree.composefs.digest.v0), or an object is damaged.")]
pub(super) struct SignArgs {
    #[command(flatten)]
    commit: CommitArgs,

    /// The private key, as keygen writes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    #[command(flatten)]
    bindings: BindingArgs,

    /// Write the note to this file too; a note with the same text that is there gets one more signature
    #[arg(long, value_name = "FILE")]
    note: Option<PathBuf>,

    /// Sign the commit itself as well, as `ostree sign --sign-type=ed25519` does; it must hold the image's digest
    #[arg(long)]
    ostree: bool,

    /// First make a commit on the branch REF that is the same but holds the image's digest, product and index
    #[arg(long)]
    embed: bool,

    /// Print a JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    commit: String,
    digest: String,
    product: String,
    index: u64,
    key: String,
    /// `added` or `present`.
    note: &'static str,
    /// `added`, `present`, or null if nobody asked.
    ostree_signature: Option<&'static str>,
    /// The commit that `--embed` started from, if it made another.
    embedded_from: Option<String>,
}

pub(super) fn run(args: &SignArgs) -> anyhow::Result<()> {
    let key = PrivateKey::read(&args.key)?;
    let (source, named) = args.commit.open()?;
    let digest = args.bindings.digest(&args.commit, &source, &named)?;
    let commit = if args.embed { embed(args, &source, &named, digest)? } else { named.clone() };
    let bytes = source.commit_bytes(&commit.checksum)?;
    let statement = args.bindings.statement(&commit, args.bindings.bindings(&bytes)?, digest)?;
    let promise = commit.image_digest.is_some();
    ensure!(
        !args.ostree || promise,
        "commit {} doesn't hold its image's digest, so that its signature would say nothing of the image; \
         use --embed",
        commit.checksum
    );
    let before = sign_note(args, &source, &commit, &statement.to_string(), &key)?;
    let ostree = match args.ostree {
        true => Some(added(source.add_signature(&commit.checksum, &key.sign(&bytes))?)),
        false => None,
    };
    let report = Report {
        commit: commit.checksum.to_string(),
        digest: digest.to_string(),
        product: statement.product.to_string(),
        index: statement.index,
        key: key.id().to_string(),
        note: added(before),
        ostree_signature: ostree,
        embedded_from: (commit.checksum != named.checksum).then(|| named.checksum.to_string()),
    };
    print(args, &report)
}

/// The commit that holds the digest: a new one, unless the one that REF names does already.
fn embed(args: &SignArgs, source: &Source, commit: &Commit, digest: Digest) -> anyhow::Result<Commit> {
    let bytes = source.commit_bytes(&commit.checksum)?;
    let bindings = args.bindings.bindings(&bytes)?;
    let there = crate::seal::Bindings::of_commit(&bytes)?;
    if commit.image_digest == Some(digest) && there == bindings {
        return Ok(commit.clone());
    }
    let embedded = Embedded { digest, product: bindings.product, index: bindings.index };
    let new = source.embed(args.commit.rev(), &commit.checksum, &embedded)?;
    source.commit(&new.to_string())
}

/// Signs the note in the detached metadata and the one in the file. Says whether both had the signature before.
fn sign_note(
    args: &SignArgs,
    source: &Source,
    commit: &Commit,
    text: &str,
    key: &PrivateKey,
) -> anyhow::Result<bool> {
    let signature = key.sign(text.as_bytes());
    // The file first: if it says something else, nothing has been changed.
    let file = match &args.note {
        None => None,
        Some(path) => {
            let note = read_note(path)?;
            let signed = add_signature(note.as_deref(), text, key.vkey(), &signature)
                .with_context(|| format!("signing {}", path.display()))?;
            Some((path, note.is_some(), signed))
        }
    };
    let stored = source.add_note(&commit.checksum, |notes| {
        let place = notes.iter().position(|note| has_text(note, text));
        notes.iter().filter(|note| !has_text(note, text)).for_each(|note| tell_of_other(note));
        let signed = add_signature(place.map(|place| notes[place].as_str()), text, key.vkey(), &signature)?;
        Ok((place, signed.note.clone(), signed))
    })?;
    let Some((path, there, signed)) = file else { return Ok(stored.before) };
    // A new file gets the signatures that the repository has.
    write_note(path, if there { &signed.note } else { &stored.note })?;
    Ok(stored.before && signed.before)
}

/// A commit may have notes of several texts, but who signs twice with another index should know.
fn tell_of_other(note: &str) {
    if let Ok(note) = Note::parse(note.as_bytes()) {
        let Statement { product, index, .. } = note.statement;
        print::say(format_args!(
            "note: the commit keeps its other note, too: product {product}, index {index}"
        ));
    }
}

/// Whether a note is one of this text, signed by whomever.
pub(super) fn has_text(note: &str, text: &str) -> bool {
    note.strip_prefix(text).is_some_and(|rest| rest.starts_with('\n'))
}

fn added(before: bool) -> &'static str {
    if before { "present" } else { "added" }
}

fn print(args: &SignArgs, report: &Report) -> anyhow::Result<()> {
    if args.json {
        return print::json(report);
    }
    let mut lines = vec![
        ("commit", report.commit.clone()),
        ("digest", report.digest.clone()),
        ("product", report.product.clone()),
        ("index", report.index.to_string()),
        ("key", report.key.clone()),
        ("note", report.note.to_owned()),
    ];
    lines.extend(report.ostree_signature.map(|signature| ("ostree", signature.to_owned())));
    lines.extend(report.embedded_from.clone().map(|commit| ("instead of", commit)));
    lines.iter().try_for_each(|(name, value)| print::line(&format!("{name:<11} {value}")))
}
