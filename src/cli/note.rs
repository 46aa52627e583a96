//! `ostree-seal note`: signatures that are made elsewhere.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use ostree_seal_trust::note::{Note, Statement};
use ostree_seal_trust::vkey::Vkey;

use super::bindings::{BindingArgs, commit_id};
use super::commit::CommitArgs;
use super::sign::has_text;
use super::{input, print};
use crate::repo::Source;
use crate::seal::{add_signature, decode_signature, read_note, write_note};

/// Sign with a key that is somewhere else: an HSM, a KMS, another person
///
/// First `note text` prints the bytes to be signed, then `note attach` takes the signature that somebody made over them.
#[derive(Debug, Args)]
pub(super) struct NoteArgs {
    #[command(subcommand)]
    command: NoteCommand,
}

#[derive(Debug, Subcommand)]
enum NoteCommand {
    Text(TextArgs),
    Attach(AttachArgs),
}

/// Print the text of a note: exactly the bytes to be signed
#[derive(Debug, Args)]
struct TextArgs {
    #[command(flatten)]
    commit: CommitArgs,

    #[command(flatten)]
    bindings: BindingArgs,
}

/// Add a signature to a note
///
/// The signature is an Ed25519 signature over the text that `note text` prints: 64 raw bytes, or base64, or hex. It is
/// checked against the public key before it is added.
#[derive(Debug, Args)]
struct AttachArgs {
    /// The public key, a .vkey file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The signature
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,

    /// The text that was signed; not needed where the note, or the only note of the commit, is there already
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,

    /// The note that gets the signature; begun if it isn't there
    #[arg(long, value_name = "FILE", required_unless_present = "repo")]
    note: Option<PathBuf>,

    /// A repository that keeps the note in the detached metadata of the commit REF
    #[arg(long, value_name = "DIR", requires = "rev")]
    repo: Option<PathBuf>,

    /// A ref, REMOTE:REF, or a commit id
    #[arg(value_name = "REF", requires = "repo", value_parser = NonEmptyStringValueParser::new())]
    rev: Option<String>,
}

pub(super) fn run(args: &NoteArgs) -> anyhow::Result<()> {
    match &args.command {
        NoteCommand::Text(args) => text(args),
        NoteCommand::Attach(args) => attach(args),
    }
}

fn text(args: &TextArgs) -> anyhow::Result<()> {
    let (source, commit) = args.commit.open()?;
    let bindings = args.bindings.bindings(&source.commit_bytes(&commit.checksum)?)?;
    let digest = args.bindings.digest(&args.commit, &source, &commit)?;
    let statement = args.bindings.statement(&commit, bindings, digest)?;
    print::to_stdout(|out| write!(out, "{statement}"))
}

fn attach(args: &AttachArgs) -> anyhow::Result<()> {
    let key = read_key(&args.key)?;
    let signature = input::read(&args.signature, input::SMALL_MAX).context("reading");
    let signature = signature.and_then(|bytes| decode_signature(&bytes));
    let signature = signature.with_context(|| format!("the signature {}", args.signature.display()))?;
    let file = args.note.as_deref().map(read_note).transpose()?.flatten();
    let text = signed_text(args, file.as_deref())?;
    let statement = Statement::parse(&text).context("reading the text that was signed")?;
    if let Some(path) = &args.note {
        let signed = add_signature(file.as_deref(), &text, &key, &signature)
            .with_context(|| format!("signing {}", path.display()))?;
        write_note(path, &signed.note)?;
    }
    if let (Some(repo), Some(rev)) = (&args.repo, &args.rev) {
        store(&Store { repo, rev, text: &text, key: &key, signature: &signature }, &statement)?;
    }
    print::line(&format!("signature of {} added", key.id()))
}

fn read_key(path: &Path) -> anyhow::Result<Vkey> {
    let context = || format!("reading the public key {}", path.display());
    let bytes = input::read(path, input::SMALL_MAX).with_context(context)?;
    Vkey::parse(&bytes).with_context(context)
}

fn signed_text(args: &AttachArgs, note: Option<&str>) -> anyhow::Result<String> {
    if let Some(path) = &args.text {
        let bytes = input::read(path, input::SMALL_MAX);
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).context("it is not UTF-8"));
        return text.with_context(|| format!("reading the text {}", path.display()));
    }
    let note = match (note, &args.repo, &args.rev) {
        (Some(note), ..) => note.to_owned(),
        (None, Some(repo), Some(rev)) => only_note(repo, rev)?,
        (None, ..) => {
            bail!("there is no note to take the text from; name the text that was signed with --text=FILE")
        }
    };
    let note = Note::parse(note.as_bytes()).context("reading the note")?;
    Ok(note.text.to_owned())
}

/// The note that a commit has.
fn only_note(repo: &Path, rev: &str) -> anyhow::Result<String> {
    let source = Source::open(repo)?;
    let commit = source.commit(rev)?;
    let mut notes = source.notes(&commit.checksum)?.into_iter();
    match (notes.next(), notes.next()) {
        (Some(note), None) => Ok(note),
        (None, _) => bail!(
            "{rev} has no note yet to take the text from; name the text that was signed with --text=FILE"
        ),
        (Some(_), Some(_)) => {
            bail!("{rev} has several notes; name the text that was signed with --text=FILE")
        }
    }
}

struct Store<'a> {
    repo: &'a Path,
    rev: &'a str,
    text: &'a str,
    key: &'a Vkey,
    signature: &'a [u8],
}

fn store(new: &Store<'_>, statement: &Statement) -> anyhow::Result<()> {
    let source = Source::open(new.repo)?;
    let commit = source.commit(new.rev)?;
    let id = commit_id(&commit)?;
    let named = statement.commit.unwrap_or(id);
    ensure!(named == id, "the note is for commit {named}, and {} is {id}", new.rev);
    source.add_note(&commit.checksum, |notes| {
        let place = notes.iter().position(|note| has_text(note, new.text));
        let note = place.map(|place| notes[place].as_str());
        let signed = add_signature(note, new.text, new.key, new.signature)?;
        Ok((place, signed.note, ()))
    })
}
