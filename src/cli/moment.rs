//! Where to begin reading, and times as people write them: parsed here, printed here, always in UTC.

use crate::clock;

const DAY_MS: i64 = 86_400_000;

/// Where to begin in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    Offset(i64),
    /// So many records before the end of each partition.
    Last(i64),
    /// Milliseconds since 1970.
    Time(i64),
}

/// Reads `earliest`, `latest`, an offset, `-N` for the last N, or a time as [`parse_time`] takes it.
pub fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" | "beginning" => return Ok(Start::Earliest),
        "latest" | "end" => return Ok(Start::Latest),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(if text.starts_with('-') { Start::Last(-number) } else { Start::Offset(number) });
    }
    parse_time(text, clock::wall_ms()).map(Start::Time).ok_or_else(|| {
        "give earliest, latest, an offset, -N for the last N records, -15m (s, m, h, d, w), @SECONDS since 1970, \
         or 2026-01-31T12:00:00Z"
            .to_owned()
    })
}

/// Milliseconds since 1970 of `-15m` (before `now_ms`; s, m, h, d, w), `@1700000000` (seconds, or
/// milliseconds from 12 digits on), or `2026-01-31[T12:00[:00[.000]]][Z|+01:00]` (UTC where no zone is given).
pub fn parse_time(text: &str, now_ms: i64) -> Option<i64> {
    if let Some(number) = text.strip_prefix('@') {
        let value: i64 = number.parse().ok()?;
        return if value.unsigned_abs() < 100_000_000_000 { value.checked_mul(1000) } else { Some(value) };
    }
    if let Some(ago) = text.strip_prefix('-') {
        return now_ms.checked_sub(parse_duration(ago)?);
    }
    parse_date_time(text)
}

/// Milliseconds of `15m` (ms, s, m, h, d, w).
pub fn parse_duration(text: &str) -> Option<i64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits_end);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        "w" => 7 * DAY_MS,
        _ => return None,
    };
    count.parse::<i64>().ok()?.checked_mul(unit_ms)
}

/// How long something lasted, in its two largest units: `0.3 s`, `12 s`, `4 m 10 s`, `2 d 3 h`.
pub fn format_duration(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, ms.max(0) % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

fn parse_date_time(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut fields = date.splitn(3, '-');
    let (year, month, day) = (digits(fields.next()?)?, digits(fields.next()?)?, digits(fields.next()?)?);
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let day_ms = days_from_civil(year, month, day) * DAY_MS;
    let Some(time) = rest.strip_prefix(['T', 't', ' ']) else {
        return rest.is_empty().then_some(day_ms);
    };
    let (time, zone_ms) = split_zone(time)?;
    let (time, fraction_ms) = match time.split_once('.') {
        Some((time, fraction)) => (time, digits(&format!("{:0<3.3}", fraction))?),
        None => (time, 0),
    };
    let mut fields = time.splitn(3, ':');
    let (hour, minute) = (digits(fields.next()?)?, digits(fields.next()?)?);
    let second = fields.next().map_or(Some(0), digits)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(day_ms + hour * 3_600_000 + minute * 60_000 + second * 1_000 + fraction_ms - zone_ms)
}

fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (hours, minutes) = time[at + 1..].split_once(':')?;
    let ms = digits(hours)? * 3_600_000 + digits(minutes)? * 60_000;
    Some((&time[..at], if time[at..].starts_with('-') { -ms } else { ms }))
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `2026-01-31T12:00:00.000Z`; a negative time, which Kafka uses for none, is `-`.
pub fn format_time(ms: i64) -> String {
    if ms < 0 {
        return "-".to_owned();
    }
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    let of_day = ms.rem_euclid(DAY_MS);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, fraction) = (of_day / 1_000 % 60, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March here, so that the day
/// that some years have comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_read() {
        assert_eq!(parse_start("earliest"), Ok(Start::Earliest));
        assert_eq!(parse_start("latest"), Ok(Start::Latest));
        assert_eq!(parse_start("42"), Ok(Start::Offset(42)));
        assert_eq!(parse_start("-42"), Ok(Start::Last(42)));
        assert_eq!(parse_start("2026-01-31"), Ok(Start::Time(1_769_817_600_000)));
        assert!(parse_start("yesterday").is_err());
    }

    #[test]
    fn times_are_read_in_each_form() {
        let now = 1_000_000_000_000;
        for (text, ms) in [
            ("@1700000000", 1_700_000_000_000),
            ("@1700000000123", 1_700_000_000_123),
            ("-15m", now - 900_000),
            ("-2w", now - 14 * DAY_MS),
            ("1970-01-01", 0),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2026-11-21 10:00", 1_795_255_200_000),
            ("2026-11-21T10:00:00.25Z", 1_795_255_200_250),
            ("2026-11-21T11:00:00+01:00", 1_795_255_200_000),
            ("2026-11-21T09:30-00:30", 1_795_255_200_000),
        ] {
            assert_eq!(parse_time(text, now), Some(ms), "{text}");
        }
        for text in
            ["", "-", "-m", "-1y", "@", "2026-13-01", "2026-02-30", "2026-11-21T25:00", "2026-11-21X", "é"]
        {
            assert_eq!(parse_time(text, now), None, "{text}");
        }
    }

    #[test]
    fn durations_are_read_and_printed() {
        for (text, ms) in [("500ms", 500), ("0s", 0), ("15m", 900_000), ("2w", 14 * DAY_MS)] {
            assert_eq!(parse_duration(text), Some(ms), "{text}");
        }
        for text in ["", "m", "15", "1y", "-1m", "1.5h", "99999999999999999w"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for (ms, text) in [
            (-5, "0.0 s"),
            (320, "0.3 s"),
            (59_999, "59 s"),
            (250_000, "4 m 10 s"),
            (7_500_000, "2 h 5 m"),
            (183_600_000, "2 d 3 h"),
        ] {
            assert_eq!(format_duration(ms), text);
        }
    }

    #[test]
    fn times_are_printed_as_they_are_read() {
        for ms in [0, 951_782_400_001, 1_795_255_200_250, 253_402_300_799_999] {
            assert_eq!(parse_time(&format_time(ms), 0), Some(ms));
        }
        assert_eq!(format_time(1_795_255_200_250), "2026-11-21T10:00:00.250Z");
        assert_eq!(format_time(-1), "-");
    }
}
