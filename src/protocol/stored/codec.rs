//! The codec behind the tables: primitive fields, arrays, tagged fields, and the `stored!` macro.
//!
//! Encodings are those of Kafka's generated messages. In a flexible version strings, byte strings and
//! arrays carry an unsigned varint of length plus one (0 = null) and every struct ends in its tagged
//! fields; in an older version a string has an i16 length, byte strings and arrays an i32 (-1 = null).
//! Reading allocates no more than the bytes at hand allow. Tagged fields nobody here knows are skipped.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::types::{LeaderEpoch, NodeId, Offset, PartitionId, ProducerId, TopicId};

/// Why bytes are not the record they claim to be, or a record cannot be written as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    #[error("the record ends in the middle of {0}")]
    Truncated(&'static str),
    #[error("the record holds an invalid {0}")]
    Invalid(&'static str),
    #[error("{0} bytes follow the record's end")]
    Trailing(usize),
    #[error("record frame version {0} is unknown; this build reads version 1")]
    FrameVersion(u32),
    #[error("record type {0} is unknown; it was written by a newer or another kind of broker")]
    UnknownType(u32),
    #[error("version {version} of {record} is unknown; this build knows {min} to {max}")]
    UnknownVersion { record: &'static str, version: i32, min: i16, max: i16 },
    #[error("{record} has no field {field} in version {version}, yet it is set")]
    NotInVersion { record: &'static str, field: &'static str, version: i16 },
}

/// A struct with versions, as one of Kafka's schemas describes it.
pub trait Message: Sized {
    const NAME: &'static str;
    const VERSION_MIN: i16;
    const VERSION_MAX: i16;

    /// Appends the body in `version`. Fails when the version is unknown or a field that it does not have
    /// differs from its default.
    fn write(&self, out: &mut Vec<u8>, version: i16) -> Result<(), StoredError>;

    /// Reads the body in `version`, leaving what follows it.
    fn read(input: &mut Input<'_>, version: i16) -> Result<Self, StoredError>;

    /// Reads a body that must fill `bytes`.
    fn read_all(bytes: &[u8], version: i16) -> Result<Self, StoredError> {
        let mut input = Input(bytes);
        let message = Self::read(&mut input, version)?;
        input.finish()?;
        Ok(message)
    }

    fn check_version(version: i16) -> Result<(), StoredError> {
        if (Self::VERSION_MIN..=Self::VERSION_MAX).contains(&version) {
            return Ok(());
        }
        Err(StoredError::UnknownVersion {
            record: Self::NAME,
            version: i32::from(version),
            min: Self::VERSION_MIN,
            max: Self::VERSION_MAX,
        })
    }
}

/// Where a field is written: its message's version and whether that version is flexible.
#[derive(Clone, Copy)]
pub struct Layout {
    pub version: i16,
    pub flexible: bool,
}

/// A value that can be a field.
pub trait Field: Sized {
    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), StoredError>;
    fn read(input: &mut Input<'_>, layout: Layout) -> Result<Self, StoredError>;
}

/// The bytes of a record that are still to be read.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], StoredError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(StoredError::Truncated(what))?;
        self.0 = tail;
        Ok(head)
    }

    pub fn unsigned_varint(&mut self) -> Result<u32, StoredError> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.take(1, "a varint")?[0];
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(StoredError::Invalid("varint"))
    }

    /// Fails when bytes are left.
    pub fn finish(self) -> Result<(), StoredError> {
        if self.0.is_empty() { Ok(()) } else { Err(StoredError::Trailing(self.0.len())) }
    }

    fn length(&mut self, flexible: bool, short: bool) -> Result<Option<usize>, StoredError> {
        let length = if flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else if short {
            i64::from(i16::read(self, PLAIN)?)
        } else {
            i64::from(i32::read(self, PLAIN)?)
        };
        match length {
            -1 => Ok(None),
            0.. => Ok(Some(usize::try_from(length).map_err(|_| StoredError::Invalid("length"))?)),
            _ => Err(StoredError::Invalid("length")),
        }
    }
}

const PLAIN: Layout = Layout { version: 0, flexible: false };

pub fn write_unsigned_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write_length(
    out: &mut Vec<u8>,
    length: Option<usize>,
    flexible: bool,
    short: bool,
) -> Result<(), StoredError> {
    let length = match length {
        None => -1,
        Some(n) => i32::try_from(n).map_err(|_| StoredError::Invalid("length"))?,
    };
    // In flexible versions too: Kafka reads no string that is longer.
    if short && length > i32::from(i16::MAX) {
        return Err(StoredError::Invalid("string length"));
    }
    if flexible {
        write_unsigned_varint(out, (length as u32).wrapping_add(1));
    } else if short {
        out.extend_from_slice(&(length as i16).to_be_bytes());
    } else {
        out.extend_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

macro_rules! number_fields {
    ($($t:ty),*) => {$(
        impl Field for $t {
            fn write(&self, out: &mut Vec<u8>, _: Layout) -> Result<(), StoredError> {
                out.extend_from_slice(&self.to_be_bytes());
                Ok(())
            }
            fn read(input: &mut Input<'_>, _: Layout) -> Result<Self, StoredError> {
                let bytes = input.take(size_of::<$t>(), "a number")?;
                Ok(<$t>::from_be_bytes(bytes.try_into().expect("take gives the asked count")))
            }
        }
    )*};
}
number_fields!(i8, i16, u16, i32, i64, f64);

macro_rules! newtype_fields {
    ($($t:ident($inner:ty)),*) => {$(
        impl Field for $t {
            fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), StoredError> {
                self.0.write(out, layout)
            }
            fn read(input: &mut Input<'_>, layout: Layout) -> Result<Self, StoredError> {
                Ok($t(<$inner>::read(input, layout)?))
            }
        }
    )*};
}
newtype_fields!(NodeId(i32), PartitionId(i32), LeaderEpoch(i32), Offset(i64), ProducerId(i64), TopicId(Uuid));

impl Field for bool {
    fn write(&self, out: &mut Vec<u8>, _: Layout) -> Result<(), StoredError> {
        out.push(u8::from(*self));
        Ok(())
    }

    fn read(input: &mut Input<'_>, _: Layout) -> Result<Self, StoredError> {
        Ok(input.take(1, "a boolean")?[0] != 0)
    }
}

impl Field for Uuid {
    fn write(&self, out: &mut Vec<u8>, _: Layout) -> Result<(), StoredError> {
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }

    fn read(input: &mut Input<'_>, _: Layout) -> Result<Self, StoredError> {
        let bytes = input.take(16, "a uuid")?;
        Ok(Uuid::from_bytes(bytes.try_into().expect("take gives the asked count")))
    }
}

impl<T: Field> Field for Arc<T> {
    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), StoredError> {
        (**self).write(out, layout)
    }

    fn read(input: &mut Input<'_>, layout: Layout) -> Result<Self, StoredError> {
        T::read(input, layout).map(Arc::new)
    }
}

/// Gives a type its field codec, plain and nullable, from how its content is written and read.
macro_rules! sized_fields {
    ($([$($g:ident)?] $t:ty, $what:literal, short $short:literal, $write:expr, $read:expr;)*) => {$(
        impl$(<$g: Field>)? Field for Option<$t> {
            fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), StoredError> {
                write_length(out, self.as_ref().map(|v| v.len()), layout.flexible, $short)?;
                match self {
                    Some(value) => $write(value, out, layout),
                    None => Ok(()),
                }
            }
            fn read(input: &mut Input<'_>, layout: Layout) -> Result<Self, StoredError> {
                match input.length(layout.flexible, $short)? {
                    Some(count) => $read(input, count, layout).map(Some),
                    None => Ok(None),
                }
            }
        }
        impl$(<$g: Field>)? Field for $t {
            fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), StoredError> {
                write_length(out, Some(self.len()), layout.flexible, $short)?;
                $write(self, out, layout)
            }
            fn read(input: &mut Input<'_>, layout: Layout) -> Result<Self, StoredError> {
                let count = input.length(layout.flexible, $short)?.ok_or(StoredError::Invalid($what))?;
                $read(input, count, layout)
            }
        }
    )*};
}

sized_fields! {
    [] String, "string", short true, write_str, read_str;
    [] Bytes, "byte string", short false, write_bytes, read_bytes;
    [T] Vec<T>, "array", short false, write_items, read_items;
}

#[allow(clippy::ptr_arg, reason = "the macro gives what the field holds")]
fn write_str(text: &String, out: &mut Vec<u8>, _: Layout) -> Result<(), StoredError> {
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn read_str(input: &mut Input<'_>, count: usize, _: Layout) -> Result<String, StoredError> {
    let bytes = input.take(count, "a string")?;
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| StoredError::Invalid("string"))
}

fn write_bytes(bytes: &Bytes, out: &mut Vec<u8>, _: Layout) -> Result<(), StoredError> {
    out.extend_from_slice(bytes);
    Ok(())
}

fn read_bytes(input: &mut Input<'_>, count: usize, _: Layout) -> Result<Bytes, StoredError> {
    Ok(Bytes::copy_from_slice(input.take(count, "a byte string")?))
}

#[allow(clippy::ptr_arg, reason = "the macro gives what the field holds")]
fn write_items<T: Field>(items: &Vec<T>, out: &mut Vec<u8>, layout: Layout) -> Result<(), StoredError> {
    items.iter().try_for_each(|item| item.write(out, layout))
}

fn read_items<T: Field>(input: &mut Input<'_>, count: usize, layout: Layout) -> Result<Vec<T>, StoredError> {
    // Every item takes a byte at least, so a count past the bytes at hand is a lie.
    if count > input.0.len() {
        return Err(StoredError::Truncated("an array"));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(T::read(input, layout)?);
    }
    Ok(items)
}

pub fn write_tagged(out: &mut Vec<u8>, mut tagged: Vec<(u32, Vec<u8>)>) {
    tagged.sort_by_key(|(tag, _)| *tag);
    write_unsigned_varint(out, tagged.len() as u32);
    for (tag, bytes) in tagged {
        write_unsigned_varint(out, tag);
        write_unsigned_varint(out, bytes.len() as u32);
        out.extend_from_slice(&bytes);
    }
}

/// Makes structs and their codecs of schema tables. One entry:
///
/// ```text
/// /// What it is.
/// pub struct NAME { versions 0..=3, flexible 0;
///     field: Type, FIRST..;                       plain field of versions FIRST and up
///     field: Type = DEFAULT, FIRST..;             with a default other than the type's
///     field: Type = DEFAULT, FIRST.. tag 4;       tagged
///     field: Type, FIRST..=LAST;                  gone after LAST
/// }
/// ```
///
/// A nullable field is an `Option`. A struct that is a field of another gets its versions from it.
macro_rules! stored {
    ($($(#[$doc:meta])* pub struct $name:ident { versions $vmin:literal ..= $vmax:literal, flexible $flex:literal;
        $($(#[$fdoc:meta])* $field:ident : $ty:ty $(= $default:expr)?, $from:literal $(..= $until:literal)? $(.. $(tag $tag:literal)?)?;)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: stored!(@default $ty $(, $default)?),)* }
            }
        }

        impl $crate::protocol::stored::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSION_MIN: i16 = $vmin;
            const VERSION_MAX: i16 = $vmax;

            #[allow(unused_mut, unused_variables, clippy::float_cmp)]
            fn write(
                &self,
                out: &mut Vec<u8>,
                version: i16,
            ) -> Result<(), $crate::protocol::stored::StoredError> {
                Self::check_version(version)?;
                let layout = $crate::protocol::stored::codec::Layout { version, flexible: version >= $flex };
                let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
                let unset = $name::default();
                $(
                    if stored!(@in version, $from $(, $until)?) {
                        stored!(@write self, out, tagged, layout, unset, $field $(, $($tag)?)?);
                    } else if self.$field != unset.$field {
                        return Err($crate::protocol::stored::StoredError::NotInVersion {
                            record: stringify!($name),
                            field: stringify!($field),
                            version,
                        });
                    }
                )*
                if layout.flexible {
                    $crate::protocol::stored::codec::write_tagged(out, tagged);
                }
                Ok(())
            }

            #[allow(unused_mut, unused_variables)]
            fn read(
                input: &mut $crate::protocol::stored::Input<'_>,
                version: i16,
            ) -> Result<$name, $crate::protocol::stored::StoredError> {
                Self::check_version(version)?;
                let layout = $crate::protocol::stored::codec::Layout { version, flexible: version >= $flex };
                let mut message = $name::default();
                $(
                    if stored!(@in version, $from $(, $until)?) {
                        stored!(@read message, input, layout, $field, $ty $(, $($tag)?)?);
                    }
                )*
                if layout.flexible {
                    for _ in 0..input.unsigned_varint()? {
                        let tag = input.unsigned_varint()?;
                        let length = input.unsigned_varint()? as usize;
                        let mut value =
                            $crate::protocol::stored::Input(input.take(length, "a tagged field")?);
                        $(
                            stored!(@tagged message, value, tag, layout, version, $from, $field, $ty $(, $($tag)?)?);
                        )*
                    }
                }
                Ok(message)
            }
        }

        impl $crate::protocol::stored::Field for $name {
            fn write(
                &self,
                out: &mut Vec<u8>,
                layout: $crate::protocol::stored::codec::Layout,
            ) -> Result<(), $crate::protocol::stored::StoredError> {
                $crate::protocol::stored::Message::write(self, out, layout.version)
            }
            fn read(
                input: &mut $crate::protocol::stored::Input<'_>,
                layout: $crate::protocol::stored::codec::Layout,
            ) -> Result<$name, $crate::protocol::stored::StoredError> {
                $crate::protocol::stored::Message::read(input, layout.version)
            }
        }
    )*};

    (@default $ty:ty) => { <$ty>::default() };
    (@default $ty:ty, $default:expr) => { $default };

    (@in $version:ident, $from:literal) => { $version >= $from };
    (@in $version:ident, $from:literal, $until:literal) => { ($from..=$until).contains(&$version) };

    (@write $self:ident, $out:ident, $tagged:ident, $layout:ident, $unset:ident, $field:ident, $tag:literal) => {
        if $self.$field != $unset.$field {
            let mut bytes = Vec::new();
            $crate::protocol::stored::Field::write(&$self.$field, &mut bytes, $layout)?;
            $tagged.push(($tag, bytes));
        }
    };
    (@write $self:ident, $out:ident, $tagged:ident, $layout:ident, $unset:ident, $field:ident $(,)?) => {
        $crate::protocol::stored::Field::write(&$self.$field, $out, $layout)?;
    };

    (@read $message:ident, $input:ident, $layout:ident, $field:ident, $ty:ty, $tag:literal) => {};
    (@read $message:ident, $input:ident, $layout:ident, $field:ident, $ty:ty $(,)?) => {
        $message.$field = <$ty as $crate::protocol::stored::Field>::read($input, $layout)?;
    };

    (@tagged $message:ident, $value:ident, $at:ident, $layout:ident, $version:ident, $from:literal, $field:ident, $ty:ty, $tag:literal) => {
        if $at == $tag && $version >= $from {
            $message.$field = <$ty as $crate::protocol::stored::Field>::read(&mut $value, $layout)?;
        }
    };
    (@tagged $message:ident, $value:ident, $at:ident, $layout:ident, $version:ident, $from:literal, $field:ident, $ty:ty $(,)?) => {};
}
