//! With `LoadCx::partial` an operator that is not known ends the network instead of being an error.

use std::path::Path;

use binesh_formats::{LoadCx, Loaded, load};

fn partial() -> LoadCx {
    LoadCx { partial: true, ..LoadCx::default() }
}

fn bad(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bad").join(name);
    std::fs::read(path).unwrap()
}

/// `relu`, then a `GridSample`.
#[test]
fn the_part_before_an_unknown_operator() {
    let e = load(bad("onnx_operator.onnx"), "it", &LoadCx::default()).unwrap_err();
    assert_eq!(e.hint(), Some("`--partial` opens the part of the network before it"));
    let (loaded, report) = load(bad("onnx_operator.onnx"), "it", &partial()).unwrap();
    let Loaded::Model(network) = loaded else { panic!("no network") };
    let names: Vec<&str> = network.graph.ids().map(|id| network.graph.node(id).name.as_str()).collect();
    assert_eq!(
        report.left_out,
        ["operator `GridSample` of opset 17 is not supported"]
            .map(|why| { format!("layer `gridsample` (GridSample): {why}") })
    );
    let [output] = network.graph.outputs() else { panic!("{names:?}") };
    // In the file's own layout.
    let inputs = &network.graph.node(*output).inputs;
    let relu = network.graph.find("relu").unwrap();
    assert!(*output == relu || inputs == &[relu], "{names:?}");
    assert_eq!(network.graph.dims(*output), [None, Some(3), Some(4), Some(4)]);
    let rows: Vec<&str> = network.layers.iter().map(|(_, layer)| layer.class.as_str()).collect();
    assert_eq!(rows, ["InputLayer", "ReLU"]);
}

/// What is wrong with a file, and not only unknown, is an error still.
#[test]
fn broken_files_are_errors_still() {
    for name in ["onnx_dangling.onnx", "onnx_cut_short.onnx", "onnx_channels.onnx", "onnx_short_weight.onnx"]
    {
        let without = load(bad(name), name, &LoadCx::default()).unwrap_err().to_string();
        assert_eq!(load(bad(name), name, &partial()).unwrap_err().to_string(), without);
    }
}
