//! Reading ahead: order, errors, panics, memory and the end of threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use binesh::data::{Reader, ReaderOptions, Turn};
use binesh::image::{ImageError, Picture};
use binesh::render::write_png;
use tempfile::TempDir;

/// Picture i is i + 1 pixels wide; number `broken` is no picture.
fn photos(count: usize, broken: Option<usize>) -> (TempDir, Vec<PathBuf>) {
    let folder = TempDir::new().expect("a folder");
    let paths: Vec<PathBuf> = (0..count).map(|i| folder.path().join(format!("{i}.png"))).collect();
    for (i, path) in paths.iter().enumerate() {
        if Some(i) == broken {
            std::fs::write(path, "nothing").expect("written");
        } else {
            write_png(path, &Picture::filled(3, i + 1, [7; 3])).expect("written");
        }
    }
    (folder, paths)
}

fn options(threads: usize, prefetch: usize) -> ReaderOptions {
    ReaderOptions { threads: Some(threads), prefetch, ..ReaderOptions::default() }
}

#[test]
fn pictures_come_in_the_order_asked_for() {
    let (_folder, paths) = photos(9, None);
    let order: Vec<usize> = (0..200).map(|i| i * i % 9).collect();
    for (threads, prefetch) in [(1, 1), (1, 8), (3, 2), (8, 64)] {
        // Late ones finish first.
        let work = |turn: Turn, picture: Picture| {
            std::thread::sleep(Duration::from_micros(300 * (turn.position % 3) as u64));
            (turn, picture.width())
        };
        let reader = Reader::new(paths.clone(), order.clone(), options(threads, prefetch), work);
        assert_eq!(reader.len(), 200);
        let mut count = 0;
        for (position, (turn, result)) in reader.enumerate() {
            assert_eq!(turn, Turn { position, index: order[position] });
            assert_eq!(result.expect("a picture"), (turn, order[position] + 1));
            count += 1;
        }
        assert_eq!(count, 200);
    }
}

#[test]
fn a_broken_picture_is_a_value() {
    let (_folder, paths) = photos(4, Some(2));
    let reader = Reader::new(paths, vec![1, 2, 3, 2], ReaderOptions::default(), |_, p| p.width());
    let results: Vec<Result<usize, ImageError>> = reader.map(|(_, result)| result).collect();
    assert!(matches!(results[0], Ok(2)) && matches!(results[2], Ok(4)));
    assert!(matches!(results[1], Err(ImageError::Unrecognized { .. })));
    assert!(matches!(results[3], Err(ImageError::Unrecognized { .. })));
}

#[test]
fn nothing_to_read() {
    let mut reader = Reader::new(Vec::new(), Vec::new(), ReaderOptions::default(), |_, p| p);
    assert!(reader.next().is_none());
    assert_eq!(reader.waiting(), 0.0);
}

/// At no time more than `prefetch` results exist beyond those taken.
#[test]
fn it_reads_no_further_ahead_than_allowed() {
    let (_folder, paths) = photos(2, None);
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let work = move |_: Turn, _: Picture| count.fetch_add(1, Ordering::SeqCst);
    let mut reader = Reader::new(paths, vec![0; 100], options(4, 5), work);
    for taken in 1..=20 {
        reader.next().expect("one more").1.expect("a picture");
        std::thread::sleep(Duration::from_millis(2));
        assert!(made.load(Ordering::SeqCst) <= taken + 5);
    }
    // Dropped in the middle: the threads end, though most is not read.
    drop(reader);
    let then = made.load(Ordering::SeqCst);
    assert!(then <= 25, "{then}");
    assert_eq!(Arc::strong_count(&made), 1, "no thread holds the work any more");
}

#[test]
fn a_panic_in_the_work_arrives_at_the_caller() {
    let (_folder, paths) = photos(3, None);
    let work = |turn: Turn, _: Picture| assert_ne!(turn.index, 1, "a bug in augmentation");
    let mut reader = Reader::new(paths, vec![0, 1, 2], options(2, 8), work);
    reader.next().expect("the first").1.expect("a picture");
    let next = std::panic::AssertUnwindSafe(|| reader.next());
    let panic = std::panic::catch_unwind(next).expect_err("the panic");
    assert!(panic.downcast_ref::<String>().expect("a message").contains("a bug in augmentation"));
}

#[test]
fn the_share_of_waiting_says_who_is_slow() {
    let (_folder, paths) = photos(2, None);
    let pause = Duration::from_millis(2);
    let mut starved =
        Reader::new(paths.clone(), vec![0; 40], options(1, 64), move |_, _| std::thread::sleep(pause));
    starved.by_ref().for_each(|(_, result)| result.expect("a picture"));
    assert!(starved.waiting() > 0.5 && starved.waited() >= 39 * pause, "{}", starved.waiting());

    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let work = move |_: Turn, _: Picture| count.fetch_add(1, Ordering::SeqCst);
    let mut fed = Reader::new(paths, vec![0; 40], options(1, 64), work);
    while made.load(Ordering::SeqCst) < 40 {
        std::thread::yield_now();
    }
    for (_, result) in fed.by_ref() {
        result.expect("a picture");
        std::thread::sleep(pause);
    }
    assert!(fed.waiting() < 0.5, "{}", fed.waiting());
}
