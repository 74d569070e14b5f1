//! Summaries against the tables that Keras 2.0.8 and Keras 3 print of the same models.

use std::path::PathBuf;

use binesh::report::summary::{Keras3Style, Summary};
use serde_json::Value;

struct Golden {
    file: String,
    summary: Summary,
    cases: Vec<Value>,
}

fn goldens(prefix: &str) -> Vec<Golden> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/summaries");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    files.retain(|path| name(path).starts_with(prefix));
    let read = |path: &PathBuf| {
        let mut json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        Golden {
            file: name(path),
            summary: serde_json::from_value(json["summary"].take()).unwrap(),
            cases: json["cases"].as_array().unwrap().clone(),
        }
    };
    files.iter().map(read).collect()
}

fn check(file: &str, case: &Value, text: &str) {
    let lines: Vec<&str> =
        case["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let expected = lines.join("\n") + "\n";
    let mut options = case.clone();
    options.as_object_mut().unwrap().remove("lines");
    assert!(text == expected, "{file} {options}\nexpected:\n{expected}\ngot:\n{text}");
}

#[test]
fn tables_of_keras_2_0_8() {
    let goldens = goldens("k2_");
    assert_eq!(goldens.len(), 9);
    for golden in goldens {
        for case in &golden.cases {
            check(&golden.file, case, &golden.summary.keras2());
        }
    }
}

#[test]
fn tables_of_keras_3() {
    let goldens = goldens("k3_");
    assert_eq!(goldens.len(), 20);
    for golden in goldens {
        for case in &golden.cases {
            let on = |name: &str| case.get(name).is_some_and(|v| v.as_bool().unwrap());
            let number = |name: &str| case.get(name).map(|v| v.as_u64().unwrap() as usize);
            let style = Keras3Style {
                terminal_columns: number("terminal_columns").unwrap(),
                line_length: number("line_length"),
                expand_nested: on("expand_nested"),
                show_trainable: on("show_trainable"),
                ..Keras3Style::default()
            };
            check(&golden.file, case, &golden.summary.keras3(&style));
        }
    }
}

/// A one-convolution network with the costs that its shapes give: 148 x 148 x 32 outputs of 3 x 3 x 3 products each.
fn with_costs() -> Summary {
    let json = serde_json::json!({
        "name": "small", "kind": "sequential",
        "rows": [
            {"name": "conv", "class": "Conv2D", "outputs": [[null, 148, 148, 32]], "built": true, "params": 896,
             "trainable": true, "mult_adds": 148 * 148 * 32 * 27, "activation_bytes": 148 * 148 * 32 * 4},
            {"name": "pool", "class": "GlobalAveragePooling2D", "outputs": [[null, 32]], "built": true, "params": 0,
             "trainable": null, "mult_adds": 0, "activation_bytes": 32 * 4}
        ],
        "trainable": {"count": 896, "bytes": 3584}, "non_trainable": {"count": 0, "bytes": 0},
        "notes": [{"label": "Input", "text": "150 x 150 RGB, scaled to 0..1"}]
    });
    serde_json::from_value(json).unwrap()
}

#[test]
fn our_columns_and_notes_come_only_on_request() {
    let summary = with_costs();
    let plain = summary.keras3(&Keras3Style::default());
    assert!(!plain.contains("Mult") && !plain.contains("Input:"), "{plain}");
    let style = Keras3Style { show_costs: true, show_notes: true, ..Keras3Style::default() };
    let expected = r#"Model: "small"
┏━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━━━━━┓
┃ Layer (type)        ┃ Output Shape    ┃ Param # ┃ Mult-Adds ┃ Activation ┃
┡━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━╇━━━━━━━━━━━━┩
│ conv (Conv2D)       │ (None, 148,     │     896 │   18.93 M │    2.67 MB │
│                     │ 148, 32)        │         │           │            │
├─────────────────────┼─────────────────┼─────────┼───────────┼────────────┤
│ pool                │ (None, 32)      │       0 │         0 │   128.00 B │
│ (GlobalAveragePool… │                 │         │           │            │
└─────────────────────┴─────────────────┴─────────┴───────────┴────────────┘
 Total params: 896 (3.50 KB)
 Trainable params: 896 (3.50 KB)
 Non-trainable params: 0 (0.00 B)
 Mult-adds: 18,925,056 (18.93 M)
 Activations: 2.67 MB
 Input: 150 x 150 RGB, scaled to 0..1
"#;
    let got = summary.keras3(&style);
    assert!(got == expected, "expected:\n{expected}\ngot:\n{got}");
}

#[test]
fn an_unknown_cost_makes_the_total_unknown() {
    let mut summary = with_costs();
    summary.rows[1].mult_adds = None;
    let text = summary.keras3(&Keras3Style { show_costs: true, ..Keras3Style::default() });
    assert!(text.contains("\n Mult-adds: unknown\n Activations: 2.67 MB\n"), "{text}");
}

/// In some of these Keras refuses to draw ("Insufficient console width"), in others it leaves `Param #` empty.
#[test]
fn a_terminal_too_narrow_for_keras_still_gets_a_table() {
    let golden = goldens("k3_two_eyes").remove(0);
    for (columns, narrowest) in [(0, 23), (10, 23), (27, 23), (28, 26), (30, 26), (31, 28), (34, 30)] {
        let text =
            golden.summary.keras3(&Keras3Style { terminal_columns: columns, ..Keras3Style::default() });
        let table: Vec<&str> = text.lines().filter(|line| line.starts_with(['┏', '├', '└'])).collect();
        assert!(table.iter().all(|line| line.chars().count() == narrowest), "{columns}:\n{text}");
    }
}

#[test]
fn json_holds_the_rows_and_the_totals_and_reads_back() {
    let golden = goldens("k3_vgg16_head_frozen").remove(0);
    let json = golden.summary.json();
    // 4 bytes each, but for the optimizer's count of steps, which has 8.
    assert_eq!(json["total"], serde_json::json!({"count": 18_910_020_u64, "bytes": 75_640_084_u64}));
    assert_eq!(json["optimizer"]["count"], 2_097_667);
    assert_eq!(json["kind"], "sequential");
    assert_eq!(json["rows"][0]["children"][18]["name"], "block5_pool");
    assert_eq!(json["rows"][0]["children"][17]["outputs"], serde_json::json!([[null, 9, 9, 512]]));
    assert_eq!(json["mult_adds"], Value::Null);
    assert_eq!(with_costs().json()["mult_adds"], 148 * 148 * 32 * 27);
    assert_eq!(serde_json::from_value::<Summary>(json).unwrap(), golden.summary);
}

/// A file may name a layer anything; the table stays a table and the terminal gets no commands.
#[test]
fn control_characters_in_names_are_shown_not_sent() {
    let mut summary = with_costs();
    summary.name = "a\u{1b}]0;owned\u{7}".to_owned();
    summary.rows[0].name = "b\nc\u{1b}[2J".to_owned();
    for text in [summary.keras3(&Keras3Style::default()), summary.keras2()] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.contains("b\\nc\\u{1b}[2J"), "{text}");
    }
}
