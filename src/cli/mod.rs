//! The command line: one file a subcommand, each with its arguments and `run`. The only code that prints.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Make OSTree and bootc systems tamper-evident from the first mount on.
#[derive(Debug, Parser)]
#[command(name = "ostree-seal", version, help_expected = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {}

/// A check said no. Any error with this in its chain ends the program with exit code 3.
#[derive(Debug)]
pub struct Refused(pub String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Runs the chosen subcommand: 0 done, 1 could not, 3 refused. A wrong command line has ended with 2 in clap already.
pub fn run(cli: Cli) -> ExitCode {
    let result: anyhow::Result<()> = match cli.command {};
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let refused = error.chain().any(|cause| cause.is::<Refused>());
            ExitCode::from(if refused { 3 } else { 1 })
        }
    }
}
