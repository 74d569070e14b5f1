use std::path::Path;

use serde_json::Value;

use super::*;

/// The cases of a golden (`testdata/gen/metrics.py`).
pub(in crate::train) fn golden(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/metrics").join(file);
    let mut golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    golden["cases"].as_array_mut().unwrap().drain(..).collect()
}

pub(in crate::train) fn floats(values: &Value) -> Vec<f32> {
    values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

#[track_caller]
pub(in crate::train) fn close(got: f64, want: &Value, tolerance: f64) {
    let want = want.as_f64().unwrap();
    assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{got}, expected {want}");
}

fn scores(case: &Value) -> Scores {
    let labels =
        case["labels"].as_array().unwrap().iter().map(|label| label.as_u64().unwrap() as usize).collect();
    let probabilities = floats(&case["probabilities"]);
    if case["binary"] == true {
        Scores::binary(&probabilities, labels).unwrap()
    } else {
        Scores::new(probabilities, labels, case["classes"].as_u64().unwrap() as usize).unwrap()
    }
}

fn average(got: Average, want: &Value) {
    for (got, want) in [got.precision, got.recall, got.f1].into_iter().zip(want.as_array().unwrap()) {
        close(got, want, 1e-12);
    }
}

#[test]
fn figures_are_scikit_learns() {
    let cases = golden("scores.json");
    assert_eq!(cases.len(), 5);
    for case in cases {
        let metrics = scores(&case).metrics();
        close(metrics.accuracy, &case["accuracy"], 1e-15);
        // `log_loss` adds up in float32.
        close(metrics.loss, &case["loss"], 1e-6);
        close(metrics.accuracy_interval.low, &case["interval"][0], 1e-12);
        close(metrics.accuracy_interval.high, &case["interval"][1], 1e-12);
        average(metrics.macro_average, &case["macro"]);
        average(metrics.weighted_average, &case["weighted"]);
        assert_eq!(serde_json::to_value(&metrics.confusion).unwrap(), case["confusion"]);
        assert_eq!(metrics.per_class.len(), case["per_class"].as_array().unwrap().len());
        for (k, got) in metrics.per_class.iter().enumerate() {
            let want = &case["per_class"][k];
            for (i, got) in [got.precision, got.recall, got.f1].into_iter().enumerate() {
                close(got, &want[i], 1e-12);
            }
            assert_eq!(got.support, want[3].as_u64().unwrap());
            let undefined =
                [Figure::Precision, Figure::Recall, Figure::F1].map(|f| got.undefined.contains(&f));
            assert_eq!(serde_json::to_value(undefined).unwrap(), case["undefined"][k]);
        }
    }
}

#[test]
fn calibration_is_numpys() {
    for case in golden("scores.json") {
        let (got, want) = (scores(&case).metrics().calibration, &case["calibration"]);
        close(got.ece, &want["ece"], 1e-7);
        close(got.confidence, &want["confidence"], 1e-7);
        assert_eq!(got.bins.len(), 15);
        for (bin, want) in got.bins.iter().zip(want["bins"].as_array().unwrap()) {
            assert_eq!(bin.count, want[0].as_u64().unwrap());
            assert_eq!(
                (bin.confidence.is_none(), bin.accuracy.is_none()),
                (want[1].is_null(), want[2].is_null())
            );
            if let (Some(confidence), Some(accuracy)) = (bin.confidence, bin.accuracy) {
                close(confidence, &want[1], 1e-7);
                close(accuracy, &want[2], 1e-12);
            }
        }
    }
}

#[test]
fn mistakes_are_the_surest_first() {
    for case in golden("scores.json") {
        let (got, want) = (scores(&case).mistakes(5), case["mistakes"].as_array().unwrap());
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            let places = [got.index, got.truth, got.predicted];
            assert_eq!(serde_json::json!(places).as_array().unwrap()[..], want.as_array().unwrap()[..3]);
            close(got.confidence, &want[3], 1e-7);
            close(got.truth_probability, &want[4], 1e-7);
        }
    }
}

#[test]
fn wilson_is_scipys() {
    for case in golden("wilson.json") {
        let interval = wilson(case[0].as_u64().unwrap() as usize, case[1].as_u64().unwrap() as usize);
        close(interval.low, &case[2], 1e-12);
        close(interval.high, &case[3], 1e-12);
    }
    assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
    assert_eq!((wilson(0, 4).low, wilson(4, 4).high), (0.0, 1.0));
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let of = |probabilities: &[f32], labels: &[usize], classes| {
        Scores::new(probabilities.to_vec(), labels.to_vec(), classes).unwrap_err().to_string()
    };
    assert_eq!(of(&[], &[], 3), "there are no pictures to judge");
    assert_eq!(of(&[1.0], &[0], 1), "1 classes, expected at least 2");
    assert_eq!(of(&[1.0, 0.0, 1.0], &[0, 1], 2), "3 probabilities for 2 labels of 2 classes, expected 4");
    assert_eq!(of(&[1.0, 0.0], &[2], 2), "label 2 of picture 0 is not one of 2 classes");
    assert_eq!(of(&[0.5, 0.5, 0.5, f32::NAN], &[0, 1], 2), "NaN of picture 1 is not a probability");
    assert_eq!(of(&[1.5, 0.5], &[0], 2), "1.5 of picture 0 is not a probability");
    let error = Scores::binary(&[0.5], vec![]).unwrap_err().to_string();
    assert_eq!(error, "1 probabilities for 0 labels of 1 classes, expected 0");
}

#[test]
fn metrics_are_json_by_their_names() {
    let metrics = Scores::binary(&[0.75, 0.25], vec![1, 1]).unwrap().metrics();
    let json = serde_json::to_value(&metrics).unwrap();
    assert_eq!(json["accuracy"], 0.5);
    assert_eq!(json["per_class"][0]["undefined"], serde_json::json!(["recall"]));
    assert_eq!(json["calibration"]["bins"][11]["accuracy"], 0.5);
    assert_eq!(json["confusion"], serde_json::json!([[0, 0], [1, 1]]));
}
