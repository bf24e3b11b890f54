//! A set of ASCII letters, which is all that a topic's name is made of.
//!
//! Letters beyond ASCII matter to an expression only where they fold to one under `(?i)`: `ſ` (U+017F) to
//! `s`, and the Kelvin sign (U+212A) to `k`.

use std::fmt::Write;

/// Bit n stands for the letter with code n.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Letters(pub u128);

impl Letters {
    pub const NONE: Letters = Letters(0);
    pub const ALL: Letters = Letters(u128::MAX);

    /// From pairs of first and last letter.
    pub const fn of(pairs: &[u8]) -> Letters {
        let mut set = Letters::NONE;
        let mut at = 0;
        while at + 1 < pairs.len() {
            set = set.or(Letters::range(pairs[at] as u32, pairs[at + 1] as u32));
            at += 2;
        }
        set
    }

    /// The letters with codes from `first` to `last`, which may lie beyond ASCII.
    pub const fn range(first: u32, last: u32) -> Letters {
        if first > 127 || last < first {
            return Letters::NONE;
        }
        let upto = if last >= 127 { u128::MAX } else { (1 << (last + 1)) - 1 };
        Letters(upto & !((1 << first) - 1))
    }

    /// As [`Letters::range`], without regard to case.
    pub fn folded_range(first: u32, last: u32) -> Letters {
        let mut set = Letters::range(first, last).folded();
        for (beyond, ascii) in [(0x17f, b"ssSS"), (0x212a, b"kkKK")] {
            if (first..=last).contains(&beyond) {
                set = set.or(Letters::of(ascii));
            }
        }
        set
    }

    pub const fn or(self, other: Letters) -> Letters {
        Letters(self.0 | other.0)
    }

    pub const fn not(self) -> Letters {
        Letters(!self.0)
    }

    /// With each letter also in the other case.
    pub const fn folded(self) -> Letters {
        const UPPER: u128 = Letters::of(b"AZ").0;
        Letters(self.0 | (self.0 & UPPER) << 32 | (self.0 >> 32) & UPPER)
    }

    /// Appends the set as a class of the `regex` crate, for matching bytes.
    pub fn write(self, out: &mut String) {
        if self == Letters::NONE {
            out.push_str(r"[^\x00-\xFF]");
            return;
        }
        out.push('[');
        let mut code = 0;
        while code < 128 {
            let rest = self.0 >> code;
            code += rest.trailing_zeros();
            if code >= 128 {
                break;
            }
            let run = (self.0 >> code).trailing_ones();
            let written = match run {
                1 => write!(out, r"\x{code:02X}"),
                _ => write!(out, r"\x{code:02X}-\x{:02X}", code + run - 1),
            };
            written.expect("a String takes every text");
            code += run;
        }
        out.push(']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_written_as_ranges() {
        let text = |set: Letters| {
            let mut out = String::new();
            set.write(&mut out);
            out
        };
        assert_eq!(text(Letters::of(b"az__")), r"[\x5F\x61-\x7A]");
        assert_eq!(text(Letters::ALL), r"[\x00-\x7F]");
        assert_eq!(text(Letters::of(b"\x7f\x7f").or(Letters::range(0, 0))), r"[\x00\x7F]");
        assert_eq!(text(Letters::range(128, 9999)), r"[^\x00-\xFF]");
        assert_eq!(text(Letters::range(100, 9999)), r"[\x64-\x7F]");
    }

    #[test]
    fn folding_takes_both_cases_and_what_lies_beyond_ascii() {
        assert_eq!(Letters::of(b"by@@[[").folded(), Letters::of(b"byBY@@[["));
        assert_eq!(Letters::folded_range(0x17f, 0x17f), Letters::of(b"ssSS"));
        assert_eq!(Letters::folded_range(0x2000, 0x3000), Letters::of(b"kkKK"));
    }
}
