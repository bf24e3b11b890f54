//! The `thalweg` binary: hands the command line to [`thalweg::cli`].

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    thalweg::cli::main()
}

#[cfg(loom)]
fn main() {}
