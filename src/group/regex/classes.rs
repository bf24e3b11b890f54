//! The named classes of RE2/J 1.8, as the ASCII letters in each.
//!
//! POSIX classes are `[:name:]`. Unicode's categories and scripts are `\p{name}`; under `(?i)` RE2/J adds to
//! each category a table of its own, which for `Ll` is not all capital letters, so both sets stand here. Most
//! scripts have no ASCII letter: of them only the name counts, because another name is refused.

use super::letters::Letters;

/// `[:name:]`; `[:^name:]` is what is not in it.
pub(super) fn posix(name: &str) -> Option<Letters> {
    Some(match name {
        "alnum" => Letters::of(b"09AZaz"),
        "alpha" => Letters::of(b"AZaz"),
        "ascii" => Letters::ALL,
        "blank" => Letters::of(b"\t\t  "),
        "cntrl" => Letters::of(b"\x00\x1f\x7f\x7f"),
        "digit" => Letters::of(b"09"),
        "graph" => Letters::of(b"!~"),
        "lower" => Letters::of(b"az"),
        "print" => Letters::of(b" ~"),
        "punct" => Letters::of(b"!/:@[`{~"),
        "space" => Letters::of(b"\t\r  "),
        "upper" => Letters::of(b"AZ"),
        "word" => Letters::of(b"09AZaz__"),
        "xdigit" => Letters::of(b"09AFaf"),
        _ => return None,
    })
}

/// What `\d`, `\s` and `\w` stand for; of a capital letter, what is not in it.
pub(super) fn perl(letter: char) -> Option<Letters> {
    Some(match letter {
        'd' => Letters::of(b"09"),
        's' => Letters::of(b"\t\n\x0c\r  "),
        'w' => Letters::of(b"09AZaz__"),
        _ => return None,
    })
}

/// `\p{name}`, with or without regard to case.
pub(super) fn unicode(name: &str, fold: bool) -> Option<Letters> {
    if let Ok(found) = WITH_ASCII.binary_search_by_key(&name, |(name, ..)| name) {
        let (_, exact, folded) = WITH_ASCII[found];
        return Some(Letters(if fold { folded } else { exact }));
    }
    WITHOUT_ASCII.binary_search(&name).is_ok().then_some(Letters::NONE)
}

/// Name, its ASCII letters, and those under `(?i)`; letter 0 is the lowest bit. Sorted by name.
#[rustfmt::skip]
const WITH_ASCII: &[(&str, u128, u128)] = &[
    ("Any", 0xffffffff_ffffffff_ffffffff_ffffffff, 0xffffffff_ffffffff_ffffffff_ffffffff),
    ("C", 0x80000000_00000000_00000000_ffffffff, 0x80000000_00000000_00000000_ffffffff),
    ("Cc", 0x80000000_00000000_00000000_ffffffff, 0x80000000_00000000_00000000_ffffffff),
    ("Common", 0xf8000001_f8000001_ffffffff_ffffffff, 0xf8000001_f8000001_ffffffff_ffffffff),
    ("L", 0x07fffffe_07fffffe_00000000_00000000, 0x07fffffe_07fffffe_00000000_00000000),
    ("Latin", 0x07fffffe_07fffffe_00000000_00000000, 0x07fffffe_07fffffe_00000000_00000000),
    ("Ll", 0x07fffffe_00000000_00000000_00000000, 0x07fffffe_00080800_00000000_00000000),
    ("Lu", 0x00000000_07fffffe_00000000_00000000, 0x07fffffe_07fffffe_00000000_00000000),
    ("N", 0x00000000_00000000_03ff0000_00000000, 0x00000000_00000000_03ff0000_00000000),
    ("Nd", 0x00000000_00000000_03ff0000_00000000, 0x00000000_00000000_03ff0000_00000000),
    ("P", 0x28000000_b8000001_8c00f7ee_00000000, 0x28000000_b8000001_8c00f7ee_00000000),
    ("Pc", 0x00000000_80000000_00000000_00000000, 0x00000000_80000000_00000000_00000000),
    ("Pd", 0x00000000_00000000_00002000_00000000, 0x00000000_00000000_00002000_00000000),
    ("Pe", 0x20000000_20000000_00000200_00000000, 0x20000000_20000000_00000200_00000000),
    ("Po", 0x00000000_10000001_8c00d4ee_00000000, 0x00000000_10000001_8c00d4ee_00000000),
    ("Ps", 0x08000000_08000000_00000100_00000000, 0x08000000_08000000_00000100_00000000),
    ("S", 0x50000001_40000000_70000810_00000000, 0x50000001_40000000_70000810_00000000),
    ("Sc", 0x00000000_00000000_00000010_00000000, 0x00000000_00000000_00000010_00000000),
    ("Sk", 0x00000001_40000000_00000000_00000000, 0x00000001_40000000_00000000_00000000),
    ("Sm", 0x50000000_00000000_70000800_00000000, 0x50000000_00000000_70000800_00000000),
    ("Z", 0x00000000_00000000_00000001_00000000, 0x00000000_00000000_00000001_00000000),
    ("Zs", 0x00000000_00000000_00000001_00000000, 0x00000000_00000000_00000001_00000000),
];

/// Sorted.
#[rustfmt::skip]
const WITHOUT_ASCII: &[&str] = &[
    "Arabic", "Armenian", "Avestan", "Balinese", "Bamum", "Batak", "Bengali", "Bopomofo", "Brahmi",
    "Braille", "Buginese", "Buhid", "Canadian_Aboriginal", "Carian", "Cf", "Cham", "Cherokee", "Co",
    "Coptic", "Cs", "Cuneiform", "Cypriot", "Cyrillic", "Deseret", "Devanagari", "Egyptian_Hieroglyphs",
    "Ethiopic", "Georgian", "Glagolitic", "Gothic", "Greek", "Gujarati", "Gurmukhi", "Han", "Hangul",
    "Hanunoo", "Hebrew", "Hiragana", "Imperial_Aramaic", "Inherited", "Inscriptional_Pahlavi",
    "Inscriptional_Parthian", "Javanese", "Kaithi", "Kannada", "Katakana", "Kayah_Li", "Kharoshthi",
    "Khmer", "Lao", "Lepcha", "Limbu", "Linear_B", "Lisu", "Lm", "Lo", "Lt", "Lycian", "Lydian", "M",
    "Malayalam", "Mandaic", "Mc", "Me", "Meetei_Mayek", "Mn", "Mongolian", "Myanmar", "New_Tai_Lue", "Nko",
    "Nl", "No", "Ogham", "Ol_Chiki", "Old_Italic", "Old_Persian", "Old_South_Arabian", "Old_Turkic",
    "Oriya", "Osmanya", "Pf", "Phags_Pa", "Phoenician", "Pi", "Rejang", "Runic", "Samaritan", "Saurashtra",
    "Shavian", "Sinhala", "So", "Sundanese", "Syloti_Nagri", "Syriac", "Tagalog", "Tagbanwa", "Tai_Le",
    "Tai_Tham", "Tai_Viet", "Tamil", "Telugu", "Thaana", "Thai", "Tibetan", "Tifinagh", "Ugaritic",
    "Unknown", "Vai", "Yi", "Zl", "Zp",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What `tests/apache-kafka/Patterns.java` wrote.
    const FROM_RE2J: &str = include_str!("fixtures/unicode-classes.txt");

    #[test]
    fn unicode_classes_are_those_of_re2j() {
        assert!(WITH_ASCII.is_sorted_by_key(|(name, ..)| name) && WITHOUT_ASCII.is_sorted());
        for line in FROM_RE2J.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [name, exact, folded] = fields[..] else { panic!("{line}") };
            let letters = |hex| Some(Letters(u128::from_str_radix(hex, 16).expect("hexadecimal digits")));
            assert_eq!(unicode(name, false), letters(exact), "{name}");
            assert_eq!(unicode(name, true), letters(folded), "{name}");
        }
        assert_eq!(FROM_RE2J.lines().count(), WITH_ASCII.len() + WITHOUT_ASCII.len());
        assert_eq!(unicode("Klingon", false), None);
    }
}
