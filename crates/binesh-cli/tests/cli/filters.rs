//! `binesh filters`

use crate::sandbox::Sandbox;
use crate::transcript;

#[test]
fn complaints() {
    let sandbox = Sandbox::new();
    sandbox.write("names.txt", b"cat\ndog\n");
    sandbox.write("direction.npy", b"no");
    transcript::check(&sandbox, "filters");
}

const COMMON: &str = "filters -m seq.h5 --scaling unit --steps 6 --size 12x12";

/// A run that is done again learns nothing new, whatever else is asked for beside it.
#[test]
fn what_was_learned_is_kept_and_more_is_added() {
    let sandbox = Sandbox::new();
    // Few steps may not be enough to rise above chance, which is said and no reason to write less.
    let first = sandbox.run(&format!("{COMMON} --layer conv2 --channel 2 --out out --json"));
    let first: serde_json::Value = serde_json::from_str(&first.stdout).unwrap();
    let file = first["filters"][0]["file"].as_str().unwrap().to_owned();
    // What a second run would write is another picture.
    let marked = sandbox.bytes("cat.png");
    sandbox.write(format!("out/{file}"), &marked);
    let again = sandbox.run(&format!("{COMMON} --layer conv2 --channel 2 --channel 3 --out out --json"));
    assert_eq!(sandbox.bytes(format!("out/{file}")), marked);
    assert!(again.stderr.contains("1 of 2 were learned before"), "{again}");
    let again: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(again["filters"].as_array().unwrap().len(), 2);
    assert_eq!(again["filters"][0]["reached"], first["filters"][0]["reached"]);
    // Another seed is another picture.
    sandbox.run(&format!("{COMMON} --layer conv2 --channel 2 --seed 1 --out out"));
    assert_ne!(sandbox.bytes(format!("out/{file}")), marked);
}

#[test]
fn the_page_and_the_sheet_show_files_that_exist() {
    let sandbox = Sandbox::new();
    sandbox.class_folders("photos");
    let report =
        sandbox.run(&format!("{COMMON} --layer conv2 --kernels --photos photos --top 3 --out out --json"));
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    let page = String::from_utf8(sandbox.bytes("out/index.html")).unwrap();
    for entry in report["filters"].as_array().unwrap() {
        for key in ["file", "photos_file"] {
            let file = entry[key].as_str().unwrap();
            assert!(page.contains(&format!("src=\"{file}\"")), "{file}");
            assert!(sandbox.path("out").join(file).is_file(), "{file}");
        }
        let photos = entry["photos"].as_array().unwrap();
        assert_eq!(photos.len(), 3);
        let answers: Vec<f64> = photos.iter().map(|photo| photo["answer"].as_f64().unwrap()).collect();
        assert!(answers.is_sorted_by(|a, b| a >= b), "{answers:?}");
    }
    let sheet = sandbox.picture("out/sheet.png");
    assert_eq!([sheet.height(), sheet.width()], [12, 5 * 12 + 4 * 5], "five channels in a row");
    assert!(sandbox.picture("out/kernels.png").width() > 100);
}
