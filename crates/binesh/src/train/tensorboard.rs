//! Event files that TensorBoard reads: TFRecord frames of `tensorflow.Event` messages, scalars only.
//!
//! Written by hand: the crates for it (`tensorboard-rs`, `tfrecord`, `tboard`) were last released years ago, on
//! versions of `protobuf`, `prost` and `image` of that time, and `prost-build` wants a compiler of its own.
//!
//! A file is a function of the history alone, so a resumed run makes the same bytes as one never interrupted,
//! and a record more for each epoch: [`write_events`] appends them.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::HistoryRow;
use crate::render::{WriteError, write_file};

/// Scalars of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Seconds since 1970.
    pub wall_time: f64,
    /// Position on the horizontal axis.
    pub step: i64,
    /// Tags and values; equal tags of two runs share a chart.
    pub scalars: Vec<(String, f32)>,
}

/// What TensorBoard takes for an event file: `events.out.tfevents.` somewhere in the name.
pub const FILE_NAME: &str = "events.out.tfevents.binesh";

/// The whole file: a first record that says the version, then one of each event.
pub fn event_file(started: f64, events: &[Event]) -> Vec<u8> {
    let mut head = Vec::new();
    double(&mut head, 1, started);
    bytes(&mut head, 3, b"brain.Event:2");
    let mut file = Vec::new();
    frame(&mut file, &head);
    for event in events {
        frame(&mut file, &message(event));
    }
    file
}

/// Training and validation, each a run of its own (a folder) as Keras's callback makes them, with its tags:
/// `epoch_loss`, `epoch_accuracy`, `epoch_learning_rate`. An epoch ends at `started` (seconds since 1970) and
/// the seconds of all epochs up to it. Steps count from 0.
pub fn history_events(rows: &[HistoryRow], started: f64) -> [(&'static str, Vec<Event>); 2] {
    let mut wall_time = started;
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for row in rows {
        wall_time += row.seconds;
        let step = row.epoch as i64 - 1;
        let event = |scalars: Vec<(&str, f64)>| {
            let scalars = scalars.into_iter().map(|(tag, value)| (tag.to_owned(), value as f32)).collect();
            Event { wall_time, step, scalars }
        };
        train.push(event(vec![
            ("epoch_loss", row.train_loss),
            ("epoch_accuracy", row.train_accuracy),
            ("epoch_learning_rate", row.learning_rate),
        ]));
        let judged = [("epoch_loss", row.val_loss), ("epoch_accuracy", row.val_accuracy)];
        let scalars: Vec<_> = judged.into_iter().filter_map(|(tag, value)| Some((tag, value?))).collect();
        if !scalars.is_empty() {
            validation.push(event(scalars));
        }
    }
    [("train", train), ("validation", validation)]
}

/// Makes the file hold `wanted`. What is there already, even a record cut off by a crash, is only completed:
/// TensorBoard keeps the file open and would not see one put in its place. Anything else is replaced.
pub fn write_events(path: &Path, wanted: &[u8]) -> Result<(), WriteError> {
    let failed = |source| WriteError { path: path.to_owned(), source };
    let present = match fs::read(path) {
        Ok(present) => present,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    match wanted.strip_prefix(&present[..]) {
        Some([]) => Ok(()),
        Some(rest) if !present.is_empty() => {
            let mut file = fs::File::options().append(true).open(path).map_err(failed)?;
            file.write_all(rest).map_err(failed)
        }
        _ => write_file(path, wanted),
    }
}

/// `tensorflow.Event` with a `Summary` of simple values. Zeros are left out where Protocol Buffers leaves out
/// defaults; a value of 0 is not, for it is one of several kinds of value.
fn message(event: &Event) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, number) in &event.scalars {
        let mut value = Vec::new();
        bytes(&mut value, 1, tag.as_bytes());
        key(&mut value, 2, FOUR_BYTES);
        value.extend(number.to_le_bytes());
        bytes(&mut summary, 1, &value);
    }
    let mut message = Vec::new();
    double(&mut message, 1, event.wall_time);
    if event.step != 0 {
        key(&mut message, 2, VARINT);
        varint(&mut message, event.step as u64);
    }
    bytes(&mut message, 5, &summary);
    message
}

// Wire types of Protocol Buffers.
const VARINT: u8 = 0;
const EIGHT_BYTES: u8 = 1;
const LENGTH: u8 = 2;
const FOUR_BYTES: u8 = 5;

/// Fields here have numbers below 16, which fit the one byte.
fn key(out: &mut Vec<u8>, field: u8, wire: u8) {
    out.push(field << 3 | wire);
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn double(out: &mut Vec<u8>, field: u8, value: f64) {
    if value.to_bits() != 0 {
        key(out, field, EIGHT_BYTES);
        out.extend(value.to_le_bytes());
    }
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    key(out, field, LENGTH);
    varint(out, value.len() as u64);
    out.extend(value);
}

/// A TFRecord: length, its checksum, data, its checksum; all little-endian.
fn frame(out: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked_crc(data).to_le_bytes());
}

/// CRC-32C (Castagnoli), turned so that a checksum of data with checksums in it is no weak one.
fn masked_crc(data: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let step = |crc: u32, _| (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
    let crc = !data.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step));
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Vec<u8> {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/metrics/events.tfevents");
        fs::read(path).unwrap()
    }

    fn row(epoch: usize, val: Option<(f64, f64)>) -> HistoryRow {
        HistoryRow {
            stage: "head".into(),
            epoch,
            train_loss: 1.5 / epoch as f64,
            train_accuracy: 1.0 - 1.0 / epoch as f64,
            val_loss: val.map(|v| v.0),
            val_accuracy: val.map(|v| v.1),
            learning_rate: 0.001,
            seconds: 2.5,
            images_per_second: 80.0,
        }
    }

    /// The epochs of `testdata/gen/event_file.py`.
    fn history() -> Vec<HistoryRow> {
        vec![row(1, Some((0.75, 0.5))), row(2, Some((0.25, 0.0))), row(300, Some((f64::NAN, 1.0)))]
    }

    const STARTED: f64 = 1_790_000_000.25;

    #[test]
    fn bytes_are_tensorflows() {
        let [(_, train), (_, validation)] = history_events(&history(), STARTED);
        let mut events = train;
        events.extend(validation);
        assert_eq!(event_file(STARTED, &events), golden());
    }

    #[test]
    fn what_was_not_measured_is_no_event() {
        let [(name, train), (_, validation)] =
            history_events(&[row(1, None), row(2, Some((0.5, 0.5)))], 100.0);
        assert_eq!((name, train.len()), ("train", 2));
        assert_eq!(validation.len(), 1);
        assert_eq!((validation[0].step, validation[0].wall_time), (1, 105.0));
        assert_eq!(validation[0].scalars, [("epoch_loss".into(), 0.5), ("epoch_accuracy".into(), 0.5)]);
    }

    #[test]
    fn checksum_is_the_one_of_rfc_3720() {
        // B.4: 32 bytes of zeros have the CRC 0x8A9136AA.
        let unmasked = masked_crc(&[0; 32]).wrapping_sub(0xA282_EAD8).rotate_left(15);
        assert_eq!(unmasked, 0x8A91_36AA);
    }

    #[test]
    fn a_file_is_completed_or_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let wanted = golden();
        // Nothing, everything, cut within a record, something else, more than wanted.
        let longer = [&wanted[..], b"more"].concat();
        let found = [None, Some(&wanted[..]), Some(&wanted[..70]), Some(b"other"), Some(&longer)];
        for (present, appended) in found.into_iter().zip([false, true, true, false, false]) {
            let kept = folder.path().join("held open");
            let _ = fs::remove_file(&kept);
            match present {
                None => {}
                Some(present) => {
                    fs::write(&path, present).unwrap();
                    // A second name of the same file sees what is appended, not what replaces it.
                    fs::hard_link(&path, &kept).unwrap();
                }
            }
            write_events(&path, &wanted).unwrap();
            assert_eq!(fs::read(&path).unwrap(), wanted);
            assert_eq!(fs::read(&kept).is_ok_and(|bytes| bytes == wanted), appended);
        }
    }
}
