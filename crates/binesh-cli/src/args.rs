//! Options that several verbs share.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use binesh::core::{Isa, Profile, Runtime};
use binesh::formats::{LoadCx, LoadReport};
use binesh::image::{DecodeOptions, Interpolation, Picture, Preprocess, Scaling};
use binesh::train::CHECKPOINT;
use binesh::{Model, PreprocessingSource};
use clap::{Args, ValueEnum};

use crate::{costs, output};

/// Options of every verb.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// Threads to compute with [default: all]
    #[arg(long, global = true, value_name = "N", help_heading = "Global options", value_parser = threads)]
    pub(crate) threads: Option<usize>,

    /// No convolution by Winograd's F(4x4, 3x3): slower, a digit closer to exact arithmetic
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) exact: bool,

    /// Write one JSON document to standard output instead of text (docs/json.md)
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,

    /// Say on standard error where the time went: every step of the network against what it should take
    #[arg(long, global = true, help_heading = "Global options")]
    profile: bool,

    #[arg(skip)]
    times: OnceLock<Arc<Profile>>,
}

impl Common {
    /// The runtime asked for; the variable `BINESH_ISA` forces an instruction set, `BINESH_COSTS` names a file of costs.
    pub(crate) fn runtime(&self) -> Result<Runtime> {
        let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = self.threads.unwrap_or_else(all);
        let runtime = match std::env::var_os("BINESH_ISA") {
            Some(name) => {
                let isa = Isa::from_str(&name.to_string_lossy()).context("BINESH_ISA")?;
                Runtime::with_isa(threads, isa)
            }
            None => Runtime::new(threads),
        };
        let runtime = match std::env::var_os("BINESH_COSTS") {
            Some(path) => runtime.with_costs(costs::read(Path::new(&path))?),
            None => runtime,
        };
        let runtime = if self.exact { runtime.exact() } else { runtime };
        Ok(match self.profile() {
            Some(profile) => runtime.profiled(Arc::clone(profile)),
            None => runtime,
        })
    }

    /// The times of all steps, with `--profile`.
    pub(crate) fn profile(&self) -> Option<&Arc<Profile>> {
        let began = Instant::now();
        let clock = move || began.elapsed().as_secs_f64();
        self.profile.then(|| self.times.get_or_init(|| Arc::new(Profile::new(clock))))
    }
}

/// The limit keeps a slip of the finger from bringing the machine to its knees.
fn threads(text: &str) -> Result<usize, &'static str> {
    count(text).ok().filter(|&n| n <= 1024).ok_or("not a whole number from 1 to 1024")
}

/// How many of something.
pub(crate) fn count(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|&n| n > 0).ok_or("not a whole number from 1 on")
}

/// Which network.
#[derive(Args, Debug)]
pub(crate) struct ModelArgs {
    /// Model file: Keras .h5 (1.x, 2.x, 3.x), .keras, or architecture .json; ONNX; weights of a known architecture: PyTorch
    /// .pth, .pt or .safetensors; or the folder of a run of `binesh train`
    /// [default: the built-in EfficientNet-Lite0]
    #[arg(short, long, help_heading = "Model", value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
}

/// What a model file may lack.
#[derive(Args, Debug, Default)]
pub(crate) struct WeightsArgs {
    /// Weights-only file (.h5) for a model file that holds the architecture alone
    #[arg(long, help_heading = "Model", value_name = "FILE", requires = "model")]
    pub(crate) weights: Option<PathBuf>,

    /// Architecture of a file of PyTorch or safetensors weights, as torchvision or timm calls it [default: recognized from
    /// the names of the weights]
    #[arg(long, help_heading = "Model", value_name = "NAME", requires = "model", conflicts_with = "weights")]
    pub(crate) arch: Option<String>,

    /// Input shape for a model saved without one (Sequential, ONNX of any size), or for weights alone: height,width,channels
    #[arg(long, help_heading = "Model", value_name = "H,W,C", requires = "model", value_parser = extents)]
    pub(crate) input_shape: Option<[usize; 3]>,

    /// Open the part of an ONNX network that lies before operators that are not supported
    #[arg(long, help_heading = "Model", requires = "model")]
    pub(crate) partial: bool,
}

fn extents(text: &str) -> Result<[usize; 3], &'static str> {
    let numbers: Option<Vec<usize>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers
        .filter(|numbers: &[usize; 3]| !numbers.contains(&0))
        .ok_or("three numbers from 1 on, as in 150,150,3")
}

/// Which network, to be asked about pictures.
#[derive(Args, Debug)]
pub(crate) struct PictureModelArgs {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    picture: PictureArgs,
}

impl PictureModelArgs {
    /// Loads the network and applies what the user says of its pictures.
    pub(crate) fn load(&self, common: &Common) -> Result<Model> {
        let mut model = self.model.load(common)?;
        self.picture.apply(&mut model)?;
        Ok(model)
    }

    /// The model file as given; `None` for the built-in network.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.model.model.as_deref()
    }

    /// Whether the user says how pictures are resized.
    pub(crate) fn says_interpolation(&self) -> bool {
        self.picture.interpolation.is_some()
    }
}

/// What a model file does not say about its pictures.
#[derive(Args, Debug)]
pub(crate) struct PictureArgs {
    /// Class names, one a line, in the order of the outputs
    #[arg(long, help_heading = "Pictures", value_name = "FILE")]
    labels: Option<PathBuf>,

    /// How pixel values are scaled, where the model file does not say
    #[arg(long, help_heading = "Pictures", value_name = "MODE")]
    scaling: Option<ScalingMode>,

    /// How pictures are resized [default: as the model file says, else bicubic]
    #[arg(long, help_heading = "Pictures", value_name = "FILTER")]
    interpolation: Option<Filter>,
}

/// PIL's filters, as Keras's `load_img` names them, and TensorFlow's.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Filter {
    Nearest,
    Bilinear,
    Bicubic,
    Lanczos,
    Box,
    Hamming,
    /// tf.image.resize, as `image_dataset_from_directory` does
    TfBilinear,
}

/// The modes of Keras's `preprocess_input`, and the two of the book.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScalingMode {
    /// 0 to 255, as they are
    None,
    /// x / 255
    Unit,
    /// BGR minus the ImageNet mean: VGG, ResNet
    Caffe,
    /// x / 127.5 - 1: MobileNet, Inception, Xception
    Tf,
    /// x / 255, ImageNet mean and standard deviation: DenseNet, PyTorch
    Torch,
}

impl ModelArgs {
    /// Loads the network, or the built-in one.
    pub(crate) fn load(&self, common: &Common) -> Result<Model> {
        self.weights.load(self.model.as_deref(), common).map(|(model, _)| model)
    }
}

impl WeightsArgs {
    /// Loads a network and says on standard error what a user should know.
    pub(crate) fn load(&self, model: Option<&Path>, common: &Common) -> Result<(Model, Option<LoadReport>)> {
        let runtime = common.runtime()?;
        let Some(path) = model else {
            return Ok((Model::embedded(runtime), None));
        };
        let path = &model_file(path)?;
        let input_shape = self.input_shape.map(|[h, w, c]| vec![None, Some(h), Some(w), Some(c)]);
        let cx = LoadCx {
            input_shape,
            architecture: self.arch.clone(),
            partial: self.partial,
            ..LoadCx::default()
        };
        let open = || Model::open(path, self.weights.as_deref(), &cx, runtime);
        let (model, report) = output::waiting(&format!("loading {}", path.display()), open)?;
        // Some variants have the tensors of the plain network, so what was recognized is said.
        if let (None, Some(PreprocessingSource::Architecture(name))) =
            (&self.arch, model.preprocessing().map(|known| &known.source))
        {
            output::note(&format!("the weights are taken for those of {name} (see `--arch`)"));
        }
        for line in &report.left_out {
            output::warn(&format!("left out: {line}"));
        }
        if let Some(first) = report.unused.first() {
            output::warn(&format!(
                "{} entries of the file are not used, the first is `{first}`",
                report.unused.len()
            ));
        }
        Ok((model, Some(report)))
    }
}

/// The model file that is meant: the one in a folder that `binesh train` has left, else the path itself.
pub(crate) fn model_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let file = path.join("model.keras");
    if file.is_file() {
        return Ok(file);
    }
    if path.join(CHECKPOINT).exists() {
        let message = format!("{}: the run has not ended, there is no model yet", path.display());
        let hint = format!("`binesh train --resume {}` goes on with it", path.display());
        return Err(output::Hinted { message, hint }.into());
    }
    let way_out = "save the model as `.keras` or `.h5`";
    match path.join("saved_model.pb").exists() {
        true => bail!("{}: TensorFlow's SavedModel cannot be loaded; {way_out}", path.display()),
        false => bail!("{}: a folder, not a model file", path.display()),
    }
}

impl PictureArgs {
    /// Applies the options; warns when the preprocessing is only a guess.
    pub(crate) fn apply(&self, model: &mut Model) -> Result<()> {
        let Some(known) = model.preprocessing() else { return Err(binesh::Error::NotAPictureModel.into()) };
        if self.scaling.is_none() && known.source == PreprocessingSource::Assumed {
            output::warn(
                "the model file does not say how pictures are scaled; x / 255 is assumed (see `--scaling`)",
            );
        }
        if let PreprocessingSource::Application(name) = &known.source
            && self.scaling.is_none()
            && *name != model.network().name
        {
            output::note(&format!(
                "pictures are scaled as keras.applications does for `{name}` inside the model (see `--scaling`)"
            ));
        }
        self.set(model)
    }

    /// Applies the options, whatever is known besides.
    pub(crate) fn set(&self, model: &mut Model) -> Result<()> {
        if let Some(path) = &self.labels {
            let file = || path.display().to_string();
            let text = String::from_utf8(read_file(path, LABEL_BYTES)?)
                .ok()
                .context("not UTF-8 text")
                .with_context(file)?;
            // Editors on Windows begin a file with a byte order mark.
            let names = text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|l| !l.is_empty());
            model.set_labels(names.map(str::to_owned).collect()).with_context(file)?;
        }
        if self.scaling.is_some() || self.interpolation.is_some() {
            let known = model.preprocessing().ok_or(binesh::Error::NotAPictureModel)?.preprocess.clone();
            let scaling = self.scaling.map_or(known.scaling, ScalingMode::scaling);
            let interpolation = self.interpolation.map_or(known.interpolation, Filter::interpolation);
            model.set_preprocess(Preprocess { scaling, interpolation, ..known });
        }
        Ok(())
    }
}

impl ScalingMode {
    fn scaling(self) -> Scaling {
        match self {
            ScalingMode::None => Scaling::None,
            ScalingMode::Unit => Scaling::Unit,
            ScalingMode::Caffe => Scaling::Caffe,
            ScalingMode::Tf => Scaling::Tf,
            ScalingMode::Torch => Scaling::Torch,
        }
    }
}

impl Filter {
    fn interpolation(self) -> Interpolation {
        match self {
            Filter::Nearest => Interpolation::Nearest,
            Filter::Bilinear => Interpolation::Bilinear,
            Filter::Bicubic => Interpolation::Bicubic,
            Filter::Lanczos => Interpolation::Lanczos,
            Filter::Box => Interpolation::Box,
            Filter::Hamming => Interpolation::Hamming,
            Filter::TfBilinear => Interpolation::TfBilinear,
        }
    }
}

/// More than any list of class names.
const LABEL_BYTES: u64 = 64 << 20;

/// Reads a file of at most `limit` bytes; a device may have no end.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let name = || path.display().to_string();
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(name)?;
    file.take(limit + 1).read_to_end(&mut bytes).with_context(name)?;
    ensure!(bytes.len() as u64 <= limit, "{}: larger than the limit of {limit} bytes", path.display());
    Ok(bytes)
}

/// Opens a picture of whatever format its content has.
pub(crate) fn open_picture(path: &Path, options: &DecodeOptions) -> Result<Picture> {
    ensure!(!path.is_dir(), "{0}: a folder, not a picture; `{0}/*` names its files", path.display());
    Ok(binesh::image::open(path, options).map_err(binesh::Error::from)?)
}
