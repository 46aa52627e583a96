//! `ostree-seal generate`: man pages and shell completions, from the same source as the help. For `make install`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

/// Generate man pages or shell completions into a directory
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// What to generate
    #[arg(value_enum)]
    what: What,

    /// Where to put the files; it is created if it doesn't exist
    directory: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// A man page for the program and one for each command
    Man,
    /// A completion script for each of bash, zsh and fish
    Completions,
}

/// `program` is the whole command line.
pub(super) fn run(args: &GenerateArgs, program: Command) -> anyhow::Result<()> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    match args.what {
        What::Man => generate_man(program, directory),
        What::Completions => generate_completions(program, directory),
    }
    .with_context(|| format!("writing to {}", directory.display()))
}

fn generate_man(program: Command, directory: &Path) -> anyhow::Result<()> {
    Ok(clap_mangen::generate_to(program, directory)?)
}

/// For what the help shows: the shells would offer hidden commands as well.
fn generate_completions(program: Command, directory: &Path) -> anyhow::Result<()> {
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let shown = Command::new("ostree-seal").version(env!("CARGO_PKG_VERSION")).subcommands(shown);
    for shell in [Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut shown.clone(), "ostree-seal", directory)?;
    }
    std::fs::write(directory.join("ostree-seal.bash"), bash(shown))?;
    Ok(())
}

/// The names that the script for bash gives to commands don't agree with each other if the program's has a hyphen in it: it
/// is made for one without, and given to the program at its end.
fn bash(program: Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, &mut program.name("ostree_seal"), "ostree_seal", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    script.replace("default ostree_seal\n", "default ostree-seal\n")
}
