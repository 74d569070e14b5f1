"""Reads what `binesh extract` wrote, as its users would, and holds the two formats against each other.

    binesh extract examples/data/cat.png PHOTOS --out f.npz
    binesh extract examples/data/cat.png PHOTOS --out f.parquet
    python check_extract.py f.npz f.parquet

NumPy 2.x without pickle, pyarrow and, where it is installed, pandas.
"""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

npz_path, parquet_path = sys.argv[1:]

npz = np.load(npz_path, allow_pickle=False)
assert sorted(npz.files) == ["classes", "features", "labels", "paths"], npz.files
features, labels, paths, classes = (npz[k] for k in ("features", "labels", "paths", "classes"))
assert features.dtype == np.float32 and labels.dtype == np.int64
assert paths.dtype.kind == "U" and classes.dtype.kind == "U"
assert len(features) == len(labels) == len(paths)
assert np.isfinite(features).all() and features.std() > 0

table = pq.read_table(parquet_path)
assert table.column_names == ["path", "label", "features"]
types = [pa.string(), pa.string()]
assert [f.type for f in table.schema][:2] == types, table.schema
assert pa.types.is_list(table.schema.field("features").type), table.schema
assert table.schema.field("features").type.value_type == pa.float32()
assert table["path"].to_pylist() == paths.tolist()
assert table["label"].to_pylist() == [None if label < 0 else str(classes[label]) for label in labels]
rows = np.array(table["features"].to_pylist(), dtype=np.float32)
assert np.array_equal(rows, features.reshape(len(features), -1))

try:
    import pandas
except ImportError:
    print("pandas is not installed")
else:
    frame = pandas.read_parquet(parquet_path)
    assert np.array_equal(np.stack(frame["features"]), rows)

groups = pq.ParquetFile(parquet_path).num_row_groups
print(f"{features.shape} features of {len(classes)} classes, {groups} row groups: the files agree")
