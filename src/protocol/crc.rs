//! The CRC32C of two byte strings one behind the other, from the CRC of each.
//!
//! `combine` multiplies by x^(8n) in GF(2)[x] modulo the CRC's polynomial, one step for each bit of n that is
//! set. The crc32c crate has the same by squaring matrices, which costs more than reading 100 KB again.
//!
//! Source: "crc32_combine" of zlib 1.2.12 and later, here for Castagnoli's polynomial (reflected 0x82f63b78).

const POLYNOMIAL: u32 = 0x82f6_3b78;
/// x^0: the highest bit, as the CRC is reflected.
const ONE: u32 = 1 << 31;
/// `POWERS[k]` is x^(8 * 2^k) modulo the polynomial: what 2^k zero bytes multiply by.
const POWERS: [u32; 32] = powers();

/// The CRC32C of `first || second`, where `second` is `second_bytes` long.
pub(super) fn combine(first: u32, second: u32, second_bytes: usize) -> u32 {
    let mut shifted = first;
    let mut left = second_bytes;
    let mut k = 0;
    while left != 0 {
        if left & 1 != 0 {
            shifted = multiply(POWERS[k], shifted);
        }
        left >>= 1;
        // x has the order 2^31 - 1 or a divisor of it, so the powers repeat.
        k = if k == 31 { 1 } else { k + 1 };
    }
    shifted ^ second
}

/// a * b modulo the polynomial.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 0;
    while bit < 32 {
        // Branches here would be mispredicted half of the time.
        product ^= b & (((a << bit) as i32) >> 31) as u32;
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
        bit += 1;
    }
    product
}

const fn powers() -> [u32; 32] {
    let mut powers = [0; 32];
    // x^8: eight places below x^0.
    powers[0] = ONE >> 8;
    let mut k = 1;
    while k < 32 {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn combining_equals_reading_both(first: Vec<u8>, second in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let whole = [first.clone(), second.clone()].concat();
            let combined = combine(crc32c::crc32c(&first), crc32c::crc32c(&second), second.len());
            prop_assert_eq!(combined, crc32c::crc32c(&whole));
        }

        #[test]
        fn any_length_gives_what_the_crate_gives(first: u32, second: u32, bytes in 1usize..1 << 31) {
            prop_assert_eq!(combine(first, second, bytes), crc32c::crc32c_combine(first, second, bytes));
        }
    }
}
