//! The question before something is deleted.

use std::io::{IsTerminal, Write};

use super::problem::Problem;

/// Prints what it is about, a line each, and asks. `count` says in words what would be deleted; where nobody
/// is there to ask, that is an error.
pub fn is_confirmed(count: &str, lines: &[String], question: &str) -> Result<bool, Problem> {
    if !std::io::stdin().is_terminal() {
        return Err(Problem::new(format!("{count} would be deleted, and nobody is there to ask"))
            .mend("add --yes to delete them"));
    }
    for line in lines {
        eprintln!("  {line}");
    }
    eprint!("{question} [y/N] ");
    let failed = |error| Problem::new(format!("the answer cannot be read: {error}"));
    std::io::stderr().flush().map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
