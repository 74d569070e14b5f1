//! The report of a run: what it says, that it is whole, and that nobody's names can break it.

#[path = "training_report/synthetic.rs"]
mod synthetic;

use binesh::report::training::{MistakePicture, RejectedFile, TrainingReport};
use binesh::train::{Scores, history_csv, read_history_csv};
use serde_json::Value;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot really";
const JPEG: &[u8] = b"\xff\xd8\xff\xe0neither";

fn report() -> TrainingReport {
    synthetic::report(&|_| (Some(JPEG.to_vec()), Some(PNG.to_vec())))
}

/// Words of the page as a reader sees them: no tags, no style, single spaces.
fn text(html: &str) -> String {
    let body = html.split("<body>").nth(1).unwrap();
    let mut out = String::new();
    for part in body.split('<') {
        let words = part.split_once('>').map_or(part, |(_, words)| words);
        out += &words.replace(['\u{a0}', '\n'], " ");
        out.push(' ');
    }
    for (entity, c) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")] {
        out = out.replace(entity, c);
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every element is closed, in order, attributes are quoted, ids are unique and every link within the page leads
/// somewhere.
fn check_html(html: &str) {
    const VOID: [&str; 3] = ["meta", "img", "br"];
    let html = html.strip_prefix("<!doctype html>\n").expect("a doctype");
    let (mut open, mut ids, mut links) = (Vec::new(), Vec::new(), Vec::new());
    for part in html.split('<').skip(1) {
        let (tag, words) = part.split_once('>').unwrap_or_else(|| panic!("`<{part}` has no end"));
        assert!(tag == "style" || !words.contains('>'), "`{words}` is not escaped");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "<{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        for (i, outside) in tag.split('"').step_by(2).enumerate() {
            assert!(i == 0 || outside.starts_with([' ', '/']) || outside.is_empty(), "<{tag}>");
        }
        for (key, into) in [(" id=\"", &mut ids), (" href=\"#", &mut links)] {
            into.extend(tag.split(key).skip(1).map(|rest| rest.split('"').next().unwrap()));
        }
        if !VOID.contains(&name) && !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0], "left open");
    assert!(links.iter().all(|link| ids.contains(link)), "{links:?} of {ids:?}");
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    // Nothing is fetched: the only addresses are within the page or carry their data.
    for attribute in ["src=\"", "href=\""] {
        for address in html.split(attribute).skip(1) {
            assert!(address.starts_with("data:image/") || address.starts_with('#'), "{}", &address[..40]);
        }
    }
    assert!(!html.contains("<script") && !html.contains("url(") && !html.contains("@import"));
}

#[test]
fn the_page_says_what_the_figures_say() {
    let report = report();
    let metrics = &report.evaluation.as_ref().unwrap().metrics;
    assert_eq!((metrics.correct, metrics.samples), (56, 60));
    let html = report.html();
    check_html(&html);
    let page = text(&html);
    for words in [
        "pictures EfficientNet-Lite0 · fine-tuning · 224 × 224 × 3 · 1,132,165 of 3,379,429 weights trained",
        "93.3 % accuracy on 60 validation pictures",
        // Wilson: 56 of 60.
        "It names 56 of 60 pictures right; on new pictures like these expect 84.1 % to 97.4 %.",
        "always saying birds : 20.0 %",
        "Most often it takes birds for mammals : 1 of 12 times.",
        "mean of classes 93.7 % 93.3 % 93.4 % 60",
        "is plants given 0.1 % said fruit 99.5 % sure plants/rose.jpg",
        "head 12 epochs in",
        "stem … block13 14 layers frozen moving statistics 1,650,576",
        "block14 learns 6.4e-5 moving statistics 392,896",
        "head/dense learns 1e-4 6,405",
        "All 32 layers",
        "birds 36 12 48 20.0 %",
        "all 180 60 240",
        "Left out: 2 files plants/notes.txt : not a picture",
        "Found twice: 2 groups, 1 of them in different parts of the data mammals/cow.jpg , mammals/cow_small.jpg",
        "fine-tuning 29 s 61.1 %",
        "of the training time waiting for pictures 1.3 %",
        "of 5,208 frozen activations came from the cache 96.8 %",
        "cache ( memory, f32 ) 52.00 MB",
        "binesh train examples/data/pictures --recipe default",
    ] {
        assert!(page.contains(words), "`{words}` is not in\n{page}");
    }
    assert!(page.contains("class training validation all share"), "no picture was kept for a test");
    assert_eq!(html.matches("data:image/jpeg;base64,/9j/4G5laXRoZXI=").count(), 4);
    assert_eq!(html.matches("data:image/png;base64,iVBORw0KGgpub3QgcmVhbGx5").count(), 4);
}

#[test]
fn json_holds_every_figure_of_the_page() {
    let text = report().metrics_json();
    let json: Value = serde_json::from_str(&text).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for key in ["accuracy", "accuracy_interval", "loss", "per_class", "confusion", "calibration", "mistakes"]
    {
        assert!(!json["evaluation"][key].is_null(), "{key} of {:?}", keys(&json["evaluation"]));
    }
    assert!(text.contains("\"accuracy\": 0.9333333333333333,"), "56 / 60, to the last digit");
    assert_eq!(json["evaluation"]["confusion"][0], serde_json::json!([11, 0, 1, 0, 0]));
    assert_eq!(json["evaluation"]["mistakes"].as_array().unwrap().len(), 4);
    assert!(json["evaluation"]["mistakes"][0].get("picture").is_none(), "pixels are no figures");
    assert_eq!(json["history"].as_array().unwrap().len(), 30);
    assert_eq!(json["best_epoch"], 23);
    assert_eq!(json["moved"][1]["layers"].as_array().unwrap().len(), 32);
    assert_eq!(json["timing"]["cache"]["hits"], 5040);
    assert_eq!(json["data"]["duplicates"][1]["across_splits"], true);
    assert_eq!(json["reproduce"]["config"].as_str().unwrap().lines().next(), Some("seed = 0"));
}

#[test]
fn history_is_a_table_of_the_same_rows() {
    let history = report().history;
    assert_eq!(read_history_csv(&history_csv(&history)).unwrap(), history);
}

#[test]
fn what_was_not_done_has_no_place() {
    let empty = TrainingReport { title: "nothing yet".into(), ..TrainingReport::default() };
    check_html(&empty.html());
    assert_eq!(text(&empty.html()), "nothing yet");

    let full = report();
    let features = TrainingReport {
        stages: vec![full.stages[0].clone()],
        history: full.history[..12].to_vec(),
        probe: None,
        moved: Vec::new(),
        timing: None,
        ..full
    };
    let page = text(&features.html());
    check_html(&features.html());
    for absent in ["What moved", "Where to unfreeze", "Where the time went", "kept:", "untrained head"] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("Learning") && page.contains("Which layers learned, and how fast."));
}

#[test]
fn names_are_only_names() {
    let evil = "<script>alert(\"1\")</script>&'گل";
    let mut report = report();
    report.title = evil.into();
    (report.model.base, report.model.method) = (evil.into(), evil.into());
    (report.data.source, report.data.split) = (evil.into(), evil.into());
    report.moved[0].name = evil.into();
    report.moved[0].layers[3].layer = evil.into();
    report.stages[0].note = evil.into();
    report.stages[0].layers[0].layer = evil.into();
    report.facts.push((evil.into(), evil.into()));
    report.data.classes.iter_mut().for_each(|class| class.name = evil.into());
    report.data.rejected.push(RejectedFile { path: evil.into(), reason: evil.into() });
    report.data.duplicates[0].paths[0] = evil.into();
    report.stages[1].name = evil.into();
    report.stages[1].layers[14].batch_norm = Some(evil.into());
    report.history.iter_mut().filter(|row| row.epoch > 12).for_each(|row| row.stage = evil.into());
    let evaluation = report.evaluation.as_mut().unwrap();
    evaluation.split = evil.into();
    evaluation.mistakes[0].path = evil.into();
    let probe = report.probe.as_mut().unwrap();
    probe.blocks[2].block = evil.into();
    probe.reason = evil.into();
    let timing = report.timing.as_mut().unwrap();
    timing.parts[0].0 = evil.into();
    timing.cache.as_mut().unwrap().kind = evil.into();
    let reproduce = report.reproduce.as_mut().unwrap();
    (reproduce.command, reproduce.config) = (evil.into(), evil.into());

    let html = report.html();
    check_html(&html);
    assert!(!html.contains("alert(\""), "a quote is not escaped");
    // 5 classes in the table of classes, in the matrix (twice), ...: everywhere as written.
    assert!(text(&html).matches(evil).count() > 40);
    assert!(html.contains("<bdi>&lt;script&gt;"), "a name has its own direction");
}

#[test]
fn a_result_no_better_than_guessing_is_called_that() {
    let mut report = report();
    // Always class 0, right 9 times of 12.
    let labels = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2];
    let scores = Scores::new([0.9, 0.06, 0.04].repeat(12), labels.to_vec(), 3).unwrap();
    let evaluation = report.evaluation.as_mut().unwrap();
    (evaluation.metrics, evaluation.mistakes) = (scores.metrics(), Vec::new());
    let page = text(&report.html());
    for words in [
        "It names 9 of 12 pictures right; on new pictures like these expect 46.8 % to 91.1 %, which is not clearly better \
         than always saying birds .",
        "It is surer than it should be: 90.0 % sure on average, 75.0 % right. Expected calibration error 15.0 %.",
        // Never predicted: no precision; recall and F1 are 0.
        "fruit none 0 % 0 % 2",
    ] {
        assert!(page.contains(words), "`{words}` is not in\n{page}");
    }
    check_html(&report.html());
}

#[test]
fn many_classes_are_told_by_their_confusions() {
    let mut report = report();
    let classes = 30;
    let one_hot = |k: usize| (0..classes).map(move |i| if i == k { 1.0 } else { 0.0 });
    // Class 7 is always taken for 8.
    let labels: Vec<usize> = (0..classes).collect();
    let probabilities = labels.iter().flat_map(|&k| one_hot(if k == 7 { 8 } else { k })).collect();
    let scores = Scores::new(probabilities, labels, classes).unwrap();
    let evaluation = report.evaluation.as_mut().unwrap();
    evaluation.metrics = scores.metrics();
    evaluation.mistakes = vec![MistakePicture { truth: 7, predicted: 8, ..MistakePicture::default() }];
    let html = report.html();
    check_html(&html);
    assert!(!html.contains("Confusion matrix"));
    // Classes without a name have their number.
    assert!(text(&html).contains("is said times share 7 8 1 100 %"), "{}", text(&html));
}

#[test]
fn runs_of_one_epoch_and_of_figures_that_are_none_are_drawn() {
    let mut report = report();
    report.history.truncate(1);
    report.history[0].train_loss = f64::NAN;
    report.history[0].val_accuracy = None;
    report.best_epoch = Some(1);
    report.moved[0].layers.truncate(1);
    report.moved.truncate(1);
    report.moved[0].layers[0].cka = None;
    let html = report.html();
    check_html(&html);
    assert!(!html.contains("NaN") && !html.contains("inf"), "what is no number is not drawn");
    let json: Value = serde_json::from_str(&report.metrics_json()).unwrap();
    assert!(json["history"][0]["train_loss"].is_null());
}
