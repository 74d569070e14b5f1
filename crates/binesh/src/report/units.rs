//! Numbers as people read them.

const SIZE_UNITS: [&str; 6] = ["B", "KB", "MB", "GB", "TB", "PB"];
const COUNT_UNITS: [&str; 5] = ["", " K", " M", " G", " T"];

/// `3453121` as `3,453,121`.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest 1024-based unit below which they do not fall, two decimals: `960.00 B`, `72.14 MB`.
pub(crate) fn size(bytes: u64) -> String {
    let (value, unit) = scale(bytes, 1024.0, &SIZE_UNITS);
    format!("{value:.2} {unit}")
}

/// A count in the largest 1000-based unit: `512`, `1.85 G`.
pub(crate) fn count(n: u64) -> String {
    if n < 1000 {
        return n.to_string();
    }
    let (value, unit) = scale(n, 1000.0, &COUNT_UNITS);
    format!("{value:.2}{unit}")
}

fn scale<'a>(n: u64, step: f64, units: &[&'a str]) -> (f64, &'a str) {
    let mut value = n as f64;
    let mut unit = 0;
    while value / step >= 1.0 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    (value, units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped_from_the_right() {
        let cases =
            [(0, "0"), (999, "999"), (1000, "1,000"), (16_812_353, "16,812,353"), (123_456, "123,456")];
        for (n, expected) in cases {
            assert_eq!(thousands(n), expected);
        }
    }

    #[test]
    fn sizes_change_unit_at_powers_of_1024() {
        let cases = [
            (0, "0.00 B"),
            (960, "960.00 B"),
            (1023, "1023.00 B"),
            (1024, "1.00 KB"),
            (1024 * 1024 - 1, "1024.00 KB"),
            (18_910_020 * 4, "72.14 MB"),
            (5 << 30, "5.00 GB"),
            (u64::MAX, "16384.00 PB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn counts_change_unit_at_powers_of_1000() {
        let cases = [(0, "0"), (999, "999"), (1000, "1.00 K"), (15_470_314_496, "15.47 G")];
        for (n, expected) in cases {
            assert_eq!(count(n), expected);
        }
    }
}
