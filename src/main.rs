//! The `thalweg` binary: hands the command line to [`thalweg::cli`].

fn main() -> std::process::ExitCode {
    thalweg::cli::main()
}
