//! What is commonly said of depth (Chollet, Deep Learning with Python, 5.4.1), and whether a network bears it out.

use super::{Depth, LayerDepth};
use crate::linear::rank_correlation;

/// From this rank correlation with depth on, in either direction, a figure counts as rising or falling.
const CLEAR: f64 = 0.5;
/// Layers below which nothing is said.
const FEWEST: usize = 3;

/// Something that is said of deeper layers, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// What is said: `deeper layers are sparser`.
    pub claim: &'static str,
    /// Whether it is so here.
    pub verdict: Verdict,
    /// Spearman's, of the figure with depth.
    pub correlation: Option<f64>,
    /// Mean figure of the first third of the layers.
    pub early: Option<f64>,
    /// Mean figure of the last third.
    pub late: Option<f64>,
    /// Layers it was measured on.
    pub layers: usize,
    /// All of it in a sentence or two.
    pub text: String,
}

/// What measurements say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is so.
    BorneOut,
    /// Neither it nor its opposite.
    NotBorneOut,
    /// It is the other way round.
    Contradicted,
    /// There is too little to say.
    NotMeasured,
}

impl Verdict {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::BorneOut => "borne out",
            Verdict::NotBorneOut => "not borne out",
            Verdict::Contradicted => "the opposite is so",
            Verdict::NotMeasured => "not measured",
        }
    }
}

struct Question {
    claim: &'static str,
    /// What the figure is a figure of, after a number.
    figure: &'static str,
    /// Which layers, in words.
    layers: &'static str,
    rises: bool,
    of: fn(&LayerDepth) -> Option<f64>,
    text: fn(f64) -> String,
}

const QUESTIONS: [Question; 4] = [
    Question {
        claim: "deeper layers are sparser",
        figure: "of the values are zero",
        layers: "layers that end in a rectifier",
        rises: true,
        of: |layer| layer.rectified.then_some(layer.zeros_share),
        text: percent,
    },
    Question {
        claim: "in deeper layers more channels are blank",
        figure: "of the channels are blank for a photo",
        layers: "layers that end in a rectifier",
        rises: true,
        of: |layer| layer.rectified.then_some(layer.blank_share),
        text: percent,
    },
    Question {
        claim: "deeper layers keep less of the picture",
        figure: "of the picture's variance can be read off by ridge regression",
        layers: "layers",
        rises: false,
        of: |layer| layer.picture_r2,
        text: percent,
    },
    Question {
        claim: "deeper layers hold more of the class",
        figure: "of the photos' classes are found by a linear probe",
        layers: "layers",
        rises: true,
        of: |layer| layer.accuracy,
        text: percent,
    },
];

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

pub(super) fn all(depth: &Depth) -> Vec<Claim> {
    QUESTIONS.iter().map(|question| answer(question, &depth.layers)).collect()
}

fn answer(question: &Question, layers: &[LayerDepth]) -> Claim {
    let figures: Vec<f64> = layers.iter().filter_map(question.of).filter(|v| v.is_finite()).collect();
    let n = figures.len();
    let unknown = |why: String| Claim {
        claim: question.claim,
        verdict: Verdict::NotMeasured,
        correlation: None,
        early: None,
        late: None,
        layers: n,
        text: format!("{}: not measured, {why}.", capital(question.claim)),
    };
    if n < FEWEST {
        return unknown(format!("there are {n} {}", question.layers));
    }
    let depths: Vec<f64> = (0..n).map(|at| at as f64).collect();
    let correlation = rank_correlation(&depths, &figures);
    let along = correlation.unwrap_or(0.0) * if question.rises { 1.0 } else { -1.0 };
    let verdict = match () {
        () if along >= CLEAR => Verdict::BorneOut,
        () if along <= -CLEAR => Verdict::Contradicted,
        () => Verdict::NotBorneOut,
    };
    let third = n.div_ceil(3);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (early, late) = (mean(&figures[..third]), mean(&figures[n - third..]));
    let text = format!(
        "{}: {}. In the first third of {n} {} {} {}, in the last third {} (rank correlation with depth {:+.2}).",
        capital(question.claim),
        verdict.name(),
        question.layers,
        (question.text)(early),
        question.figure,
        (question.text)(late),
        correlation.unwrap_or(0.0)
    );
    Claim {
        claim: question.claim,
        verdict,
        correlation,
        early: Some(early),
        late: Some(late),
        layers: n,
        text,
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
