//! One row per epoch: what `history.csv`, the event files and the report's curves are made from.

use serde::{Deserialize, Serialize};

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// Name of the stage: `head`, `fine-tuning`.
    pub stage: String,
    /// From 1, through all stages.
    pub epoch: usize,
    /// Mean loss over the epoch's batches, as they were when learned from.
    pub train_loss: f64,
    /// Accuracy over the same, 0..=1.
    pub train_accuracy: f64,
    /// Loss on the validation pictures at the end of the epoch, when there are any.
    pub val_loss: Option<f64>,
    /// Accuracy on the same, 0..=1.
    pub val_accuracy: Option<f64>,
    /// Learning rate of the epoch's last step, for layers without a rate of their own.
    pub learning_rate: f64,
    /// Time that the epoch took.
    pub seconds: f64,
    /// Training pictures per second.
    pub images_per_second: f64,
}

/// A file that is no `history.csv`.
#[derive(Debug, thiserror::Error)]
#[error("not a history of training: {0}")]
pub struct HistoryError(#[from] csv::Error);

/// `history.csv`: a header and a row per epoch; every number as short as reads back the same.
pub fn history_csv(rows: &[HistoryRow]) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let written = (|| {
        // Written by hand so that a history without epochs has it too.
        writer.write_record([
            "stage",
            "epoch",
            "train_loss",
            "train_accuracy",
            "val_loss",
            "val_accuracy",
            "learning_rate",
            "seconds",
            "images_per_second",
        ])?;
        rows.iter().try_for_each(|row| writer.serialize(row))
    })();
    written.expect("memory does not refuse bytes");
    let bytes = writer.into_inner().expect("memory does not refuse bytes");
    String::from_utf8(bytes).expect("numbers and names are UTF-8")
}

/// The rows of a `history.csv`.
pub fn read_history_csv(text: &str) -> Result<Vec<HistoryRow>, HistoryError> {
    Ok(csv::Reader::from_reader(text.as_bytes()).deserialize().collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: usize, val_loss: Option<f64>) -> HistoryRow {
        HistoryRow {
            stage: "head, \"first\"".into(),
            epoch,
            train_loss: 0.1 + 0.2,
            train_accuracy: 0.5,
            val_loss,
            val_accuracy: val_loss.map(|_| 1.0),
            learning_rate: 1e-5,
            seconds: 2.0,
            images_per_second: 117.25,
        }
    }

    #[test]
    fn rows_are_written_as_spreadsheets_read_them() {
        assert_eq!(
            history_csv(&[row(1, Some(0.25)), row(2, None)]),
            "stage,epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate,seconds,images_per_second\n\
             \"head, \"\"first\"\"\",1,0.30000000000000004,0.5,0.25,1.0,0.00001,2.0,117.25\n\
             \"head, \"\"first\"\"\",2,0.30000000000000004,0.5,,,0.00001,2.0,117.25\n"
        );
    }

    #[test]
    fn rows_are_read_back_to_the_bit() {
        let mut rows = vec![row(1, Some(1.0 / 3.0)), row(2, None)];
        rows[1].train_loss = f64::INFINITY;
        assert_eq!(read_history_csv(&history_csv(&rows)).unwrap(), rows);
        assert_eq!(read_history_csv(&history_csv(&[])).unwrap(), []);
    }

    #[test]
    fn other_tables_are_refused() {
        for text in ["a,b\n1,2\n", "stage,epoch\nhead,one\n"] {
            let error = read_history_csv(text).unwrap_err().to_string();
            assert!(error.starts_with("not a history of training: "), "{error}");
        }
    }
}
