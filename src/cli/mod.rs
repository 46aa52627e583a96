//! The command line: one file a subcommand, each with its arguments and `run`. The only code that prints.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::refused;
pub use crate::refused::Refused;

mod bindings; // what a note says: the arguments of sign and note
mod cache; // the arguments for the object cache
mod cat; // cat
mod commit; // the arguments of every command that reads a commit
mod compare; // what diff and explain compare
mod convert; // convert
mod deploy; // deploy
mod diff; // diff
mod digest; // digest
mod doctor; // doctor
mod dump; // dump
mod explain; // explain
mod file; // how a file of an image or a commit is shown
mod fsck; // fsck
mod generate; // generate
mod input; // files that the user names
mod keygen; // keygen
mod ls; // ls
mod mkimage; // mkimage
mod note; // note text, note attach
mod print; // the only way to stdout and stderr
mod progress; // bars on stderr
mod sign; // sign
mod stat; // stat
mod status; // status
mod trust; // trust show, trust diff
mod verify; // verify
mod verity; // verity
mod what; // the arguments of every command that looks inside

/// Make OSTree and bootc systems tamper-evident from the first mount on.
#[derive(Debug, Parser)]
#[command(name = "ostree-seal", version, help_expected = true, arg_required_else_help = true)]
#[command(max_term_width = 80)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Convert(convert::ConvertArgs),
    Deploy(deploy::DeployArgs),
    Digest(digest::DigestArgs),
    #[command(name = "mkimage")]
    MkImage(mkimage::MkImageArgs),
    Dump(dump::DumpArgs),
    Ls(ls::LsArgs),
    Cat(cat::CatArgs),
    Stat(stat::StatArgs),
    Diff(diff::DiffArgs),
    Explain(explain::ExplainArgs),
    Fsck(fsck::FsckArgs),
    Keygen(keygen::KeygenArgs),
    Sign(sign::SignArgs),
    Note(note::NoteArgs),
    Verify(verify::VerifyArgs),
    Verity(verity::VerityArgs),
    Status(status::StatusArgs),
    Trust(trust::TrustArgs),
    Doctor(doctor::DoctorArgs),
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
}

impl Cli {
    /// Reads the program's arguments; ends it with 2 if they are wrong. For `ostree seal COMMAND …`, ostree runs
    /// `ostree-seal seal COMMAND …`: it leaves its own subcommand in place.
    pub fn from_program_arguments() -> Self {
        let mut arguments: Vec<OsString> = std::env::args_os().collect();
        if arguments.get(1).is_some_and(|first| first == "seal") {
            arguments.remove(1);
        }
        Self::parse_from(arguments)
    }
}

/// Runs the chosen subcommand: 0 done, 1 could not, 3 refused. A wrong command line has ended with 2 in clap already.
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Convert(args) => convert::run(&args),
        Command::Deploy(args) => deploy::run(&args),
        Command::Digest(args) => digest::run(&args),
        Command::MkImage(args) => mkimage::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Cat(args) => cat::run(&args),
        Command::Stat(args) => stat::run(&args),
        // Their exit codes are those of diff(1).
        Command::Diff(args) => return diff::run(&args),
        Command::Explain(args) => return explain::run(&args),
        // As those of fsck(8).
        Command::Fsck(args) => return fsck::run(&args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Note(args) => note::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Verity(args) => verity::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Trust(args) => return trust::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Generate(args) => generate::run(&args, Cli::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error);
            ExitCode::from(if refused::is_refusal(&error) { 3 } else { 1 })
        }
    }
}
