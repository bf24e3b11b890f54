//! Kafka's five codecs over whole buffers, with the output bounded before it is made.
//!
//! - gzip: members one after the other. lz4: one frame, 64 KiB independent blocks, no checksums. zstd: frames.
//! - snappy: the framing of xerial's stream (magic, version, compatible version, then blocks of 32 KiB each
//!   behind its length); on reading also one raw snappy block, as Kafka's reader does.
//!
//! No reader takes memory ahead of the bytes it has produced, and none produces more than its bound.
//! Source: org.apache.kafka.common.compress, xerial snappy-java's SnappyOutputStream.

use std::io::{Read, Write};

/// What follows the magic in a xerial stream: version 1, compatible with 1, both big endian.
const XERIAL_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// zstd frames with a window above 2^27 bytes are refused, as zstd's own readers do by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Below this output, the ratio is not looked at.
const RATIO_FLOOR_BYTES: usize = 1 << 20;

/// The codec of a batch: bits 0 to 2 of its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

/// The level of each codec that has one: `compression.gzip.level`, `compression.lz4.level`,
/// `compression.zstd.level`.
///
/// The lz4 level is accepted and kept, but the one encoder here is the fast one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionLevels {
    /// -1 (zlib's default) or 1 to 9.
    pub gzip: i32,
    /// 1 to 17.
    pub lz4: i32,
    /// -131072 to 22.
    pub zstd: i32,
}

impl Default for CompressionLevels {
    fn default() -> CompressionLevels {
        CompressionLevels { gzip: -1, lz4: 9, zstd: 3 }
    }
}

/// What a decompression may produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLimits {
    /// The most bytes of output.
    pub bytes_max: usize,
    /// The most bytes of output for a byte of input; output up to 1 MiB is not held to it.
    pub ratio_max: usize,
}

impl Default for OpenLimits {
    /// 128 MiB, and 1,024 bytes for one.
    fn default() -> OpenLimits {
        OpenLimits { bytes_max: 128 << 20, ratio_max: 1024 }
    }
}

impl OpenLimits {
    /// The most bytes that `compressed_bytes` may become.
    pub fn bytes_max_of(&self, compressed_bytes: usize) -> usize {
        self.bytes_max.min(compressed_bytes.saturating_mul(self.ratio_max).max(RATIO_FLOOR_BYTES))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// The output would pass its bound; `0` is that bound in bytes.
    #[error("the records take more than {0} bytes when decompressed")]
    TooLarge(usize),
    #[error("the compressed records cannot be read: {0}")]
    Corrupt(String),
    #[error("the records cannot be compressed: {0}")]
    Encode(String),
}

impl Compression {
    /// All codecs, in the order of their ids.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The codec with this id (0 to 4).
    pub fn from_id(id: u8) -> Option<Compression> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The name that configurations use: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub fn name(self) -> &'static str {
        ["none", "gzip", "snappy", "lz4", "zstd"][self as usize]
    }

    /// The codec with this name; `uncompressed`, as topics write it, is none.
    pub fn from_name(name: &str) -> Option<Compression> {
        let name = if name == "uncompressed" { "none" } else { name };
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

/// Compresses `bytes` as Kafka's producers do.
pub fn compress(
    codec: Compression,
    levels: &CompressionLevels,
    bytes: &[u8],
) -> Result<Vec<u8>, CompressionError> {
    let encoded = match codec {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => gzip(bytes, levels.gzip),
        Compression::Snappy => snappy(bytes),
        Compression::Lz4 => lz4(bytes),
        Compression::Zstd => zstd::bulk::compress(bytes, levels.zstd),
    };
    encoded.map_err(|error| CompressionError::Encode(error.to_string()))
}

/// Decompresses `bytes` within `limits`.
pub fn decompress_bounded(
    codec: Compression,
    bytes: &[u8],
    limits: &OpenLimits,
) -> Result<Vec<u8>, CompressionError> {
    let bytes_max = limits.bytes_max_of(bytes.len());
    match codec {
        Compression::None if bytes.len() > bytes_max => Err(CompressionError::TooLarge(bytes_max)),
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(bytes), bytes_max),
        Compression::Snappy => unsnappy(bytes, bytes_max),
        Compression::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(bytes), bytes_max),
        Compression::Zstd => unzstd(bytes, bytes_max),
    }
}

fn gzip(bytes: &[u8], level: i32) -> std::io::Result<Vec<u8>> {
    let level = u32::try_from(level).map_or(flate2::Compression::default(), flate2::Compression::new);
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 2), level);
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn lz4(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let frame = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
    encoder.write_all(bytes)?;
    encoder.finish().map_err(Into::into)
}

fn snappy(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = XERIAL_HEADER.to_vec();
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(bytes.len().min(XERIAL_BLOCK_BYTES))];
    for chunk in bytes.chunks(XERIAL_BLOCK_BYTES) {
        let length = encoder.compress(chunk, &mut block)?;
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.extend_from_slice(&block[..length]);
    }
    Ok(out)
}

fn unzstd(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, CompressionError> {
    // No frame is no output, as in zstd's own reader; what is missed are the records.
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(corrupt)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
    read_bounded(decoder, bytes_max)
}

fn unsnappy(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    if !bytes.starts_with(&XERIAL_HEADER[..8]) {
        unsnappy_block(bytes, &mut out, bytes_max)?;
        return Ok(out);
    }
    let mut left = bytes;
    while !left.is_empty() {
        if left.starts_with(&XERIAL_HEADER[..8]) {
            // Streams may stand one behind the other.
            left = left.get(XERIAL_HEADER.len()..).ok_or_else(|| corrupt("the snappy header is cut"))?;
            continue;
        }
        let (length, rest) = left.split_first_chunk().ok_or_else(|| corrupt("a snappy length is cut"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(|| corrupt("a snappy block is cut"))?;
        unsnappy_block(block, &mut out, bytes_max)?;
        left = rest;
    }
    Ok(out)
}

fn unsnappy_block(block: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), CompressionError> {
    let length = snap::raw::decompress_len(block).map_err(corrupt)?;
    if length > bytes_max - out.len() {
        return Err(CompressionError::TooLarge(bytes_max));
    }
    // A copy of 64 bytes takes 3: a block that claims more than that for its size cannot be whole, and is
    // refused before its claim is reserved.
    if length > block.len().saturating_mul(22) {
        return Err(corrupt("a snappy block claims more than it can hold"));
    }
    let start = out.len();
    out.resize(start + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(corrupt)?;
    Ok(())
}

fn read_bounded(mut reader: impl Read, bytes_max: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    // One byte past the bound tells a stream that fills it from one that passes it.
    reader.by_ref().take(bytes_max as u64 + 1).read_to_end(&mut out).map_err(corrupt)?;
    if out.len() > bytes_max {
        return Err(CompressionError::TooLarge(bytes_max));
    }
    Ok(out)
}

fn corrupt(error: impl ToString) -> CompressionError {
    CompressionError::Corrupt(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_codec_gives_back_what_it_took(seed: Vec<u8>, repeat in 0usize..400) {
            let bytes = seed.repeat(repeat);
            for codec in Compression::ALL {
                let small = compress(codec, &CompressionLevels::default(), &bytes).unwrap();
                let back = decompress_bounded(codec, &small, &OpenLimits::default()).unwrap();
                prop_assert_eq!(&back, &bytes, "{:?}", codec);
                let tight = OpenLimits { bytes_max: bytes.len(), ratio_max: usize::MAX };
                prop_assert_eq!(&decompress_bounded(codec, &small, &tight).unwrap(), &bytes);
                if !bytes.is_empty() {
                    let short = OpenLimits { bytes_max: bytes.len() - 1, ratio_max: usize::MAX };
                    let error = decompress_bounded(codec, &small, &short);
                    prop_assert_eq!(error, Err(CompressionError::TooLarge(bytes.len() - 1)));
                }
            }
        }

        #[test]
        fn no_bytes_make_a_codec_panic(bytes: Vec<u8>, with_header: bool) {
            let limits = OpenLimits { bytes_max: 1 << 16, ratio_max: 64 };
            for codec in Compression::ALL {
                let mut bytes = bytes.clone();
                if with_header {
                    let header = compress(codec, &CompressionLevels::default(), b"abcabcabcabc").unwrap();
                    bytes.splice(0..0, header);
                }
                if let Ok(out) = decompress_bounded(codec, &bytes, &limits) {
                    prop_assert!(out.len() <= limits.bytes_max);
                }
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_at_its_bound() {
        let zeros = vec![0; 64 << 20];
        for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
            let bomb = compress(codec, &CompressionLevels::default(), &zeros).unwrap();
            let limits = OpenLimits { bytes_max: usize::MAX >> 1, ratio_max: 100 };
            let error = decompress_bounded(codec, &bomb, &limits).unwrap_err();
            assert!(matches!(error, CompressionError::TooLarge(max) if max < 64 << 20), "{codec:?}");
        }
    }

    #[test]
    fn a_snappy_length_that_lies_reserves_nothing() {
        // A varint that claims 2^31 bytes, and nothing behind it.
        let limits = OpenLimits { bytes_max: usize::MAX >> 1, ratio_max: usize::MAX };
        let lie = [0x80, 0x80, 0x80, 0x80, 0x08, 0];
        assert!(decompress_bounded(Compression::Snappy, &lie, &limits).is_err());
    }

    #[test]
    fn raw_snappy_is_read_too() {
        let raw = snap::raw::Encoder::new().compress_vec(b"raw raw raw raw").unwrap();
        let back = decompress_bounded(Compression::Snappy, &raw, &OpenLimits::default()).unwrap();
        assert_eq!(back, b"raw raw raw raw");
    }

    #[test]
    fn levels_of_all_ranges_work() {
        let bytes = b"level ".repeat(1000);
        for (gzip, zstd) in [(-1, -131072), (1, 1), (9, 22)] {
            let levels = CompressionLevels { gzip, lz4: 17, zstd };
            for codec in Compression::ALL {
                let small = compress(codec, &levels, &bytes).unwrap();
                assert_eq!(decompress_bounded(codec, &small, &OpenLimits::default()).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn lz4_frames_begin_as_kafkas_do() {
        let frame = compress(Compression::Lz4, &CompressionLevels::default(), b"x").unwrap();
        // Magic, FLG (version 1, independent blocks), BD (64 KiB), header checksum.
        assert_eq!(frame[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    }
}
