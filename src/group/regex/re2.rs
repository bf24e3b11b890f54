//! Reads an expression as RE2/J does and writes it in the syntax of the `regex` crate, for matching ASCII.
//!
//! Everything is read here, so nothing of the crate's own syntax is reached by accident: letters and classes
//! come out as explicit sets of bytes, groups as `(?:..)`. What makes no difference to whether a whole name
//! matches is left out: captures, greed. Refusals are RE2/J's, in its words.

use ahash::AHashSet;

use super::NESTING_MAX;
use super::classes;
use super::letters::Letters;

const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_RANGE: &str = "invalid character class range";
const BAD_GROUP: &str = "invalid or unsupported Perl syntax";
const BAD_NAME: &str = "invalid named capture";
const NAME_TWICE: &str = "duplicate capture group name";
const NOTHING_TO_REPEAT: &str = "missing argument to repetition operator";
const REPEATED_TWICE: &str = "invalid nested repetition operator";
const BAD_COUNT: &str = "invalid repeat count";
const UNCLOSED_CLASS: &str = "missing closing ]";
const UNCLOSED_GROUP: &str = "missing closing )";
/// RE2/J's words for a `)` without its `(`.
const UNOPENED_GROUP: &str = "regexp/syntax: internal error";
const TRAILING_BACKSLASH: &str = "trailing backslash at end of expression";
const TOO_DEEP: &str = "expression nests too deeply";

/// The largest count in `{n,m}`.
const REPEAT_MAX: u32 = 1000;

/// Why an expression is refused.
type Refused = &'static str;

/// `pattern` in the syntax of the `regex` crate with Unicode off.
pub(super) fn translate(pattern: &str) -> Result<String, Refused> {
    let flags = Flags { fold: false, multi_line: false, dot_takes_newline: false };
    let mut translator = Translator {
        rest: pattern,
        out: String::with_capacity(pattern.len() * 4),
        flags,
        frames: vec![Frame::opened(flags, 0)],
        names: AHashSet::new(),
        repeat_before: false,
        no_posix_end: false,
    };
    while let Some(next) = translator.peek() {
        let repeats = matches!(next, '*' | '+' | '?' | '{');
        translator.step(next)?;
        translator.repeat_before = repeats;
    }
    match translator.frames.len() {
        1 => Ok(translator.out),
        _ => Err(UNCLOSED_GROUP),
    }
}

#[derive(Clone, Copy)]
struct Flags {
    /// `(?i)`
    fold: bool,
    /// `(?m)`
    multi_line: bool,
    /// `(?s)`
    dot_takes_newline: bool,
}

/// An open group, or the whole expression.
struct Frame {
    /// The flags that hold again after the group.
    flags_outside: Flags,
    /// Where in the output the group begins.
    start: usize,
    /// What a repetition would repeat: the last thing since the group or a branch began.
    last: Option<Atom>,
    /// The deepest nesting of anything in the group so far.
    depth: usize,
}

impl Frame {
    fn opened(flags_outside: Flags, start: usize) -> Frame {
        Frame { flags_outside, start, last: None, depth: 0 }
    }
}

#[derive(Clone, Copy)]
struct Atom {
    /// Where in the output it begins; it ends at the end.
    start: usize,
    depth: usize,
    /// Whether it ends in a repetition.
    repeated: bool,
}

struct Translator<'a> {
    rest: &'a str,
    out: String,
    flags: Flags,
    /// Never empty: the first is the whole expression.
    frames: Vec<Frame>,
    names: AHashSet<&'a str>,
    /// Whether the step before this one was a repetition, or a `{` that is none.
    repeat_before: bool,
    /// Whether the input holds no more `:]`, so that it is not searched again and again.
    no_posix_end: bool,
}

impl<'a> Translator<'a> {
    fn step(&mut self, next: char) -> Result<(), Refused> {
        match next {
            '(' if self.rest.starts_with("(?") => self.group_with_flags(),
            '(' => {
                self.take();
                self.open()
            }
            '|' => {
                self.take();
                self.out.push('|');
                self.frame().last = None;
                Ok(())
            }
            ')' => {
                self.take();
                self.close()
            }
            '^' => {
                self.take();
                self.atom(if self.flags.multi_line { "(?m:^)" } else { r"\A" })
            }
            '$' => {
                self.take();
                self.atom(if self.flags.multi_line { "(?m:$)" } else { r"\z" })
            }
            '.' => {
                self.take();
                let newline = if self.flags.dot_takes_newline { Letters::NONE } else { Letters::of(b"\n\n") };
                self.letters(newline.not())
            }
            '[' => self.class(),
            '*' | '+' | '?' => {
                self.take();
                self.repeat(&next.to_string())
            }
            '{' => match self.count()? {
                Some(count) => self.repeat(&count),
                None => {
                    self.take();
                    self.letter('{' as u32)
                }
            },
            '\\' => self.backslash(),
            _ => {
                self.take();
                self.letter(next as u32)
            }
        }
    }

    // ---- the input ----

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let mut letters = self.rest.chars();
        let next = letters.next();
        self.rest = letters.as_str();
        next
    }

    /// Takes `text` if the input goes on with it.
    fn take_text(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    // ---- the output ----

    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the whole expression's frame is never closed")
    }

    fn atom(&mut self, text: &str) -> Result<(), Refused> {
        let start = self.out.len();
        self.out.push_str(text);
        self.placed(Atom { start, depth: 0, repeated: false })
    }

    fn letters(&mut self, letters: Letters) -> Result<(), Refused> {
        let start = self.out.len();
        letters.write(&mut self.out);
        self.placed(Atom { start, depth: 0, repeated: false })
    }

    fn letter(&mut self, code: u32) -> Result<(), Refused> {
        self.letters(self.range(code, code))
    }

    /// The letters from `first` to `last` under the flags that hold.
    fn range(&self, first: u32, last: u32) -> Letters {
        match self.flags.fold {
            true => Letters::folded_range(first, last),
            false => Letters::range(first, last),
        }
    }

    fn placed(&mut self, atom: Atom) -> Result<(), Refused> {
        if self.frames.len() + atom.depth > NESTING_MAX {
            return Err(TOO_DEEP);
        }
        let frame = self.frame();
        frame.depth = frame.depth.max(atom.depth);
        frame.last = Some(atom);
        Ok(())
    }

    /// Repeats the last atom. `a**` is no doubled star and `a*+` not possessive: both are refused.
    fn repeat(&mut self, operator: &str) -> Result<(), Refused> {
        self.take_text("?");
        if self.repeat_before {
            return Err(REPEATED_TWICE);
        }
        let Some(atom) = self.frame().last else { return Err(NOTHING_TO_REPEAT) };
        // Repetitions can meet all the same, as in `a*(?i)*`.
        if atom.repeated {
            self.out.insert_str(atom.start, "(?:");
            self.out.push(')');
        }
        self.out.push_str(operator);
        self.placed(Atom { depth: atom.depth + usize::from(atom.repeated), repeated: true, ..atom })
    }

    fn open(&mut self) -> Result<(), Refused> {
        self.frames.push(Frame::opened(self.flags, self.out.len()));
        self.out.push_str("(?:");
        if self.frames.len() > NESTING_MAX { Err(TOO_DEEP) } else { Ok(()) }
    }

    fn close(&mut self) -> Result<(), Refused> {
        if self.frames.len() == 1 {
            return Err(UNOPENED_GROUP);
        }
        let frame = self.frames.pop().expect("there are two");
        self.out.push(')');
        self.flags = frame.flags_outside;
        self.placed(Atom { start: frame.start, depth: frame.depth + 1, repeated: false })
    }

    // ---- groups ----

    /// `(?P<name>`, `(?<name>`, `(?flags)` or `(?flags:`.
    fn group_with_flags(&mut self) -> Result<(), Refused> {
        if self.take_text("(?P<") || self.take_text("(?<") {
            let (name, rest) = self.rest.split_once('>').ok_or(BAD_NAME)?;
            if name.is_empty() || !name.bytes().all(|c| c == b'_' || c.is_ascii_alphanumeric()) {
                return Err(BAD_NAME);
            }
            if !self.names.insert(name) {
                return Err(NAME_TWICE);
            }
            self.rest = rest;
            return self.open();
        }
        self.take_text("(?");
        let mut flags = self.flags;
        let mut on = true;
        // Whether a flag followed the `-`.
        let mut complete = true;
        loop {
            match self.take() {
                Some('i') => flags.fold = on,
                Some('m') => flags.multi_line = on,
                Some('s') => flags.dot_takes_newline = on,
                Some('U') => {}
                Some('-') if on => {
                    on = false;
                    complete = false;
                    continue;
                }
                Some(')') if complete => break,
                Some(':') if complete => {
                    self.open()?;
                    break;
                }
                _ => return Err(BAD_GROUP),
            }
            complete = true;
        }
        self.flags = flags;
        Ok(())
    }

    // ---- repetitions ----

    /// Reads `{n}`, `{n,}` or `{n,m}`; takes nothing and returns `None` where it is none of them, because
    /// then `{` is a letter.
    fn count(&mut self) -> Result<Option<String>, Refused> {
        let inside = &self.rest[1..];
        let end = inside.find(|c: char| c != ',' && !c.is_ascii_digit()).unwrap_or(inside.len());
        let (inside, rest) = inside.split_at(end);
        let Some(rest) = rest.strip_prefix('}') else { return Ok(None) };
        let (least, most) = match inside.split_once(',') {
            None => (inside, Some(inside)),
            Some((least, "")) => (least, None),
            Some((least, most)) => (least, Some(most)),
        };
        if !is_number(least) || !most.is_none_or(is_number) {
            return Ok(None);
        }
        self.rest = rest;
        let count = |digits: &str| digits.parse::<u32>().ok().filter(|count| *count <= REPEAT_MAX);
        let least = count(least).ok_or(BAD_COUNT)?;
        let Some(most) = most else { return Ok(Some(format!("{{{least},}}"))) };
        let most = count(most).filter(|most| *most >= least).ok_or(BAD_COUNT)?;
        Ok(Some(format!("{{{least},{most}}}")))
    }

    // ---- escapes ----

    fn backslash(&mut self) -> Result<(), Refused> {
        if self.take_text(r"\A") {
            self.atom(r"\A")
        } else if self.take_text(r"\z") {
            self.atom(r"\z")
        } else if self.take_text(r"\b") {
            self.atom(r"\b")
        } else if self.take_text(r"\B") {
            self.atom(r"\B")
        } else if self.take_text(r"\C") {
            Err(BAD_ESCAPE)
        } else if self.take_text(r"\Q") {
            let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            quoted.chars().try_for_each(|letter| self.letter(letter as u32))
        } else if let Some(letters) = self.class_escape()? {
            self.letters(letters)
        } else {
            let code = self.escape()?;
            self.letter(code)
        }
    }

    /// `\pN`, `\p{Name}`, `\d` and their like; takes nothing where it is none of them.
    fn class_escape(&mut self) -> Result<Option<Letters>, Refused> {
        let mut ahead = self.rest.chars();
        let (Some('\\'), Some(kind)) = (ahead.next(), ahead.next()) else { return Ok(None) };
        let letters = match kind.to_ascii_lowercase() {
            'p' => {
                self.rest = ahead.as_str();
                return self.unicode_class(kind == 'P').map(Some);
            }
            lower => classes::perl(lower),
        };
        let Some(letters) = letters else { return Ok(None) };
        self.rest = ahead.as_str();
        let letters = if self.flags.fold { letters.folded() } else { letters };
        Ok(Some(if kind.is_ascii_uppercase() { letters.not() } else { letters }))
    }

    /// What follows `\p` or `\P`.
    fn unicode_class(&mut self, negated: bool) -> Result<Letters, Refused> {
        let name = match self.rest.strip_prefix('{') {
            Some(inside) => {
                let (name, rest) = inside.split_once('}').ok_or(BAD_RANGE)?;
                self.rest = rest;
                name
            }
            None => {
                let whole = self.rest;
                self.take().ok_or(BAD_RANGE)?;
                &whole[..whole.len() - self.rest.len()]
            }
        };
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, !negated),
            None => (name, negated),
        };
        let letters = classes::unicode(name, self.flags.fold).ok_or(BAD_RANGE)?;
        Ok(if negated { letters.not() } else { letters })
    }

    /// An escape that stands for one letter; returns its code.
    fn escape(&mut self) -> Result<u32, Refused> {
        self.take_text("\\");
        let next = self.take().ok_or(TRAILING_BACKSLASH)?;
        match next {
            // One digit alone would refer back to a group.
            '1'..='7' if !self.rest.starts_with(|c| matches!(c, '0'..='7')) => Err(BAD_ESCAPE),
            '0'..='7' => {
                let mut code = next as u32 - '0' as u32;
                for _ in 0..2 {
                    let Some(digit) = self.peek().filter(|c| c.is_ascii()).and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    code = code * 8 + digit;
                    self.take();
                }
                Ok(code)
            }
            'x' => self.hexadecimal(),
            'a' => Ok(7),
            'f' => Ok(12),
            'n' => Ok(10),
            'r' => Ok(13),
            't' => Ok(9),
            'v' => Ok(11),
            _ if next.is_ascii_alphanumeric() => Err(BAD_ESCAPE),
            _ => Ok(next as u32),
        }
    }

    /// What follows `\x`: two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Result<u32, Refused> {
        if !self.take_text("{") {
            let mut digit = || self.take().and_then(|c| c.to_digit(16)).ok_or(BAD_ESCAPE);
            return Ok(digit()? * 16 + digit()?);
        }
        let (digits, rest) = self.rest.split_once('}').ok_or(BAD_ESCAPE)?;
        self.rest = rest;
        let mut code = 0;
        for digit in digits.chars() {
            code = code * 16 + digit.to_digit(16).ok_or(BAD_ESCAPE)?;
            if code > char::MAX as u32 {
                return Err(BAD_ESCAPE);
            }
        }
        if digits.is_empty() { Err(BAD_ESCAPE) } else { Ok(code) }
    }

    // ---- classes ----

    /// `[...]`. `&&`, `--` and `~~` are letters like others in it.
    fn class(&mut self) -> Result<(), Refused> {
        self.take_text("[");
        let negated = self.take_text("^");
        let mut letters = Letters::NONE;
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            let more = match self.posix_class()? {
                Some(posix) => posix,
                None => match self.class_escape()? {
                    Some(escape) => escape,
                    None => self.class_range()?,
                },
            };
            letters = letters.or(more);
        }
        self.take_text("]");
        self.letters(if negated { letters.not() } else { letters })
    }

    /// `[:name:]` or `[:^name:]`; takes nothing where there is no `:]` to come.
    fn posix_class(&mut self) -> Result<Option<Letters>, Refused> {
        // RE2/J looks for the end from the beginning, and takes `[:]` for a class without a name.
        if self.no_posix_end || !self.rest.starts_with("[:") {
            return Ok(None);
        }
        let Some(end) = self.rest.find(":]") else {
            self.no_posix_end = true;
            return Ok(None);
        };
        let name = self.rest.get(2..end).ok_or(BAD_RANGE)?;
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let letters = classes::posix(name).ok_or(BAD_RANGE)?;
        self.rest = &self.rest[end + 2..];
        let letters = if self.flags.fold { letters.folded() } else { letters };
        Ok(Some(if negated { letters.not() } else { letters }))
    }

    /// One letter of a class, or two with `-` between them.
    fn class_range(&mut self) -> Result<Letters, Refused> {
        let first = self.class_letter()?;
        let mut last = first;
        if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
            self.take_text("-");
            last = self.class_letter()?;
        }
        if last < first { Err(BAD_RANGE) } else { Ok(self.range(first, last)) }
    }

    fn class_letter(&mut self) -> Result<u32, Refused> {
        match self.peek() {
            None => Err(UNCLOSED_CLASS),
            Some('\\') => self.escape(),
            Some(letter) => {
                self.take();
                Ok(letter as u32)
            }
        }
    }
}

/// A decimal number without leading zeros.
fn is_number(digits: &str) -> bool {
    !digits.is_empty()
        && digits.bytes().all(|c| c.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'))
}
