//! A progress bar on standard error, where that is a terminal; nowhere else does it print anything.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

#[derive(Clone)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Counts bytes towards a total, or without one.
    pub fn bytes(total: Option<u64>, wanted: bool) -> Progress {
        let known = "{bar:30} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left  {msg}";
        let unknown = "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {msg}";
        Progress::new(total, wanted, known, unknown)
    }

    /// Counts records towards a total, or without one.
    pub fn records(total: Option<u64>, wanted: bool) -> Progress {
        let known = "{bar:30} {human_pos}/{human_len} records  {per_sec}  {eta} left  {msg}";
        let unknown = "{spinner} {human_pos} records  {per_sec}  {msg}";
        Progress::new(total, wanted, known, unknown)
    }

    pub fn topics(total: u64, wanted: bool) -> Progress {
        Progress::new(Some(total), wanted, "{bar:30} {pos}/{len} topics  {msg}", "")
    }

    fn new(total: Option<u64>, wanted: bool, known: &str, unknown: &str) -> Progress {
        let target = match wanted && std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr_with_hz(8),
            false => ProgressDrawTarget::hidden(),
        };
        let template = if total.is_some() { known } else { unknown };
        let style = ProgressStyle::with_template(template).expect("the templates above are sound");
        Progress(ProgressBar::with_draw_target(total, target).with_style(style))
    }

    pub fn set(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Prints a warning above the bar, or plainly where there is none; for machines an object.
    pub fn warn(&self, text: &str, json: bool) {
        self.0.suspend(|| match json {
            true => eprintln!("{}", serde_json::json!({ "warning": text })),
            false => eprintln!("warning: {text}"),
        });
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}
