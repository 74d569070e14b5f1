//! Changes to bytes that know nothing of what the bytes mean.

/// Pseudo-random numbers (Marsaglia 2003, xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// Numbers that lengths, extents and axes go wrong with.
pub(crate) const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    11,
    16,
    255,
    1 << 15,
    (1 << 16) - 1,
    1 << 20,
    1 << 31,
    (1 << 32) - 1,
    1 << 33,
    1 << 62,
    i64::MAX as u64,
    i64::MIN as u64,
    u64::MAX,
];

/// Bits flipped, bytes written over, cut, moved, doubled, or taken from another file; numbers that look like lengths.
pub(crate) fn change_bytes(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if bytes.is_empty() {
        bytes.extend(&other[..random.below(other.len() + 1)]);
        return;
    }
    // Formats keep their structure at the beginning and at the end.
    let len = bytes.len();
    let at = match random.below(4) {
        0 | 1 => random.below(len.min(4096)),
        2 => len - 1 - random.below(len.min(1024)),
        _ => random.below(len),
    };
    let end = (at + 1 + random.below(64)).min(len);
    match random.below(11) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.below(256) as u8,
        2 => {
            for _ in 0..1 + random.below(8) {
                let at = random.below(len.min(4096));
                bytes[at] = random.below(256) as u8;
            }
        }
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let piece = bytes[at..end].to_vec();
            let to = random.below(len);
            bytes.splice(to..to, piece);
        }
        6 => {
            let from = random.below(other.len());
            let piece = &other[from..(from + 1 + random.below(256)).min(other.len())];
            let over = at..(at + if random.below(2) == 0 { piece.len() } else { 0 }).min(len);
            bytes.splice(over, piece.iter().copied());
        }
        7 => write_number(bytes, at, random.pick(&NUMBERS), random),
        8 => {
            // A number no larger than the file is a length or a place: one off, twice, all.
            let width = random.pick(&[2, 4, 8]);
            let near = (at..len.saturating_sub(width)).take(512).find(|&at| {
                let value = number(&bytes[at..at + width]);
                value > 0 && value <= len as u64
            });
            if let Some(at) = near {
                let value = number(&bytes[at..at + width]);
                let new =
                    random.pick(&[value - 1, value + 1, value * 2, len as u64, len as u64 + 1, u64::MAX, 0]);
                bytes[at..at + width].copy_from_slice(&new.to_le_bytes()[..width]);
            }
        }
        9 => {
            // A number in a text.
            if let Some(at) = (at..len).take(512).find(|&at| bytes[at].is_ascii_digit()) {
                let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
                let new: &[u8] = random.pick(&[
                    &b"0"[..],
                    b"-1",
                    b"4294967296",
                    b"18446744073709551615",
                    b"1e9",
                    b"99999",
                ]);
                bytes.splice(at..at + digits, new.iter().copied());
            }
        }
        _ => bytes[at..end].fill(random.pick(&[0, 0xff, b'0', b'{', b'(', b'.'])),
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

fn write_number(bytes: &mut [u8], at: usize, value: u64, random: &mut Random) {
    let width = random.pick(&[1, 2, 4, 8]).min(bytes.len() - at);
    let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
    let new = if random.below(3) > 0 { &little[..width] } else { &big[8 - width..] };
    bytes[at..at + width].copy_from_slice(new);
}
