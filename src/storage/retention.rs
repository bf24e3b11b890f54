//! Which segments have had their time, and the files that wait to be removed.
//!
//! A segment goes as a whole, oldest first, never one that reaches to the high watermark or past it. Its
//! files are renamed to `.deleted` at once and removed after `file.delete.delay.ms`; whoever still sends
//! from them has them open. Source: UnifiedLog.deleteOldSegments.

use std::cell::RefCell;
use std::path::PathBuf;

use crate::storage::config::LogConfig;
use crate::storage::file::{self, blocking};
use crate::types::Offset;

/// What retention needs to know of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aged {
    pub base: Offset,
    pub bytes: u64,
    /// The largest timestamp, or when the file was last written where no batch has one.
    pub largest_timestamp_ms: i64,
}

/// How many of the oldest segments go. `segments` is in order, the newest last; `log_end` is where it ends.
pub fn segments_to_delete(
    segments: &[Aged],
    config: &LogConfig,
    log_start: Offset,
    log_end: Offset,
    high_watermark: Offset,
    now_ms: i64,
) -> usize {
    let next_base = |i: usize| segments.get(i + 1).map(|next| next.base);
    let is_deletable = |i: usize| {
        let newest_and_empty = next_base(i).is_none() && segments[i].bytes == 0;
        high_watermark >= next_base(i).unwrap_or(log_end) && !newest_and_empty
    };
    let run = |mut from: usize, condemned: &mut dyn FnMut(usize) -> bool| {
        while from < segments.len() && is_deletable(from) && condemned(from) {
            from += 1;
        }
        from
    };
    let mut gone = run(0, &mut |i| next_base(i).is_some_and(|next| next <= log_start));
    if !config.delete {
        return gone;
    }
    let bytes: u64 = segments[gone..].iter().map(|segment| segment.bytes).sum();
    if let Ok(limit) = u64::try_from(config.retention_bytes)
        && bytes >= limit
    {
        let mut excess = bytes - limit;
        gone = run(gone, &mut |i| match excess.checked_sub(segments[i].bytes) {
            Some(rest) => {
                excess = rest;
                true
            }
            None => false,
        });
    }
    if config.retention_ms >= 0 {
        gone =
            run(gone, &mut |i| now_ms.saturating_sub(segments[i].largest_timestamp_ms) > config.retention_ms);
    }
    gone
}

/// Files and directories that are removed when their time comes.
#[derive(Default)]
pub struct Graveyard {
    buried: RefCell<Vec<(u64, PathBuf)>>,
}

impl Graveyard {
    pub fn bury(&self, path: PathBuf, due_ms: u64) {
        self.buried.borrow_mut().push((due_ms, path));
    }

    /// Removes what is due at `now_ms` (monotonic).
    pub async fn remove_due(&self, now_ms: u64) {
        let due: Vec<PathBuf> = {
            let mut buried = self.buried.borrow_mut();
            buried.extract_if(.., |(due_ms, _)| *due_ms <= now_ms).map(|(_, path)| path).collect()
        };
        if due.is_empty() {
            return;
        }
        blocking(move || {
            for path in due {
                let removed = match path.is_dir() {
                    true => file::remove_dir_all(&path),
                    false => file::remove_file(&path),
                };
                if let Err(error) = removed {
                    tracing::warn!(path = %path.display(), %error, "a deleted file stays until the next start");
                }
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(sizes_and_times: &[(u64, i64)]) -> Vec<Aged> {
        let aged = |(i, (bytes, largest_timestamp_ms)): (usize, &(u64, i64))| Aged {
            base: Offset(10 * i as i64),
            bytes: *bytes,
            largest_timestamp_ms: *largest_timestamp_ms,
        };
        sizes_and_times.iter().enumerate().map(aged).collect()
    }

    fn gone(segments: &[Aged], config: &LogConfig, log_start: i64, high_watermark: i64) -> usize {
        let end = Offset(10 * segments.len() as i64);
        segments_to_delete(segments, config, Offset(log_start), end, Offset(high_watermark), 1_000)
    }

    #[test]
    fn by_log_start_only_whole_segments_below_it() {
        let config = LogConfig { delete: false, retention_ms: 0, retention_bytes: 0, ..LogConfig::default() };
        let s = segments(&[(5, 0), (5, 0), (5, 0)]);
        assert_eq!(gone(&s, &config, 9, 30), 0);
        assert_eq!(gone(&s, &config, 10, 30), 1);
        assert_eq!(gone(&s, &config, 30, 30), 2, "the newest segment stays");
        assert_eq!(gone(&s, &config, 20, 10), 1, "nothing past the high watermark");
    }

    #[test]
    fn by_size_until_the_rest_would_be_too_small() {
        let config = LogConfig { retention_bytes: 10, retention_ms: -1, ..LogConfig::default() };
        assert_eq!(gone(&segments(&[(5, 0), (5, 0), (4, 0)]), &config, 0, 30), 0);
        assert_eq!(gone(&segments(&[(5, 0), (5, 0), (5, 0)]), &config, 0, 30), 1);
        let none = LogConfig { retention_bytes: 0, retention_ms: -1, ..LogConfig::default() };
        assert_eq!(gone(&segments(&[(5, 0), (5, 0), (5, 0)]), &none, 0, 30), 3);
        assert_eq!(gone(&segments(&[(5, 0), (5, 0), (0, 0)]), &none, 0, 30), 2, "an empty newest one stays");
    }

    #[test]
    fn by_time_in_order() {
        let config = LogConfig { retention_ms: 100, ..LogConfig::default() };
        assert_eq!(gone(&segments(&[(5, 899), (5, 900), (5, 0)]), &config, 0, 30), 1);
        assert_eq!(gone(&segments(&[(5, 899), (5, 5_000), (5, 0)]), &config, 0, 30), 1);
        assert_eq!(gone(&segments(&[(5, 0), (5, 0), (5, 0)]), &config, 0, 30), 3);
        assert_eq!(gone(&segments(&[(5, 0), (5, 0), (5, 0)]), &config, 0, 29), 2);
    }
}
